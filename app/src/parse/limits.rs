//! Every bound that keeps a hostile or merely enormous file from hurting the rest of the program.
//!
//! Numbers only, each with its reason; nothing here enforces anything. Change a bound here and
//! nowhere else. Sizes are bytes, times are [`Duration`]s of wall or processor time as named.

use std::time::Duration;

/// Largest file that is read at all: 200 MiB.
///
/// The whole file is held in memory three times at the peak (the caller's copy, which it hashes and
/// keeps; the worker's copy; and the copy which the PDF reader makes), and only the worker's two
/// count against [`WORKER_MEMORY_BYTES`]: 400 MiB of 1 GiB. Longer papers are text, not size: the
/// annual reports used for tuning take about 4 KiB for a page.
pub const INPUT_BYTES: u64 = 200 << 20;

/// Largest text that one file may turn into: 64 MiB, about 10 million words.
///
/// Guards against files that blow up (a page drawn a million times), and keeps a worker's answer,
/// at most doubled by JSON's escapes, far below [`FRAME_BYTES`].
pub const TEXT_BYTES: usize = 64 << 20;

/// Largest frame on the pipe between this program and a worker.
///
/// The larger of an input file and an answer (`2 × TEXT_BYTES` for escapes), with 1 MiB for notes.
pub const FRAME_BYTES: u64 = INPUT_BYTES + (1 << 20);

/// Plain text, Markdown and source code up to this size are read in this process: 8 MiB.
///
/// They need no parser: decoding and filtering are a few linear passes of our own code over safe
/// Rust libraries. A folder of a thousand notes thus costs no pipe traffic and starts no process.
/// Longer ones go to a worker, whose memory is bounded.
pub const IN_PROCESS_TEXT_BYTES: usize = 8 << 20;

/// Address space a worker may take above what the program itself maps at its start: 1 GiB.
///
/// A failed allocation then ends the worker alone. The largest of the test documents (160 pages)
/// takes 32 MiB; a file of [`INPUT_BYTES`] is held twice.
pub const WORKER_MEMORY_BYTES: u64 = 1 << 30;

/// Stack of the thread that runs the extractors: 64 MiB.
///
/// Recursive parsers meet [`HTML_DEPTH`] or [`XML_DEPTH`] levels at a few KiB each, or up to a
/// few thousand levels of nested PDF objects. Only touched pages cost memory.
pub const WORKER_STACK_BYTES: usize = 64 << 20;

/// Processor time that one file may take without showing progress: 30 s.
///
/// See [`PAGE_TIME`] for long documents. A file that takes longer is reported as
/// [`ParseError::TimedOut`](super::ParseError::TimedOut) and its worker is ended.
pub const CPU_TIME: Duration = Duration::from_secs(30);

/// Additional time granted for each finished page that holds text: 0.3 s.
///
/// Ten times what a page of the test reports takes (0.03 s), so that a book of two thousand pages is read whole,
/// while a file of a few slow pages or of endless empty ones still ends after [`CPU_TIME`].
pub const PAGE_TIME: Duration = Duration::from_millis(300);

/// Wall time for one file that is not using the processor (a loaded machine, or swapping), as a
/// multiple of the processor time it is granted: 2.
pub const WALL_TIME_FACTOR: u32 = 2;

/// No file takes longer than this, however many pages it holds: 10 minutes.
pub const LONGEST_TIME: Duration = Duration::from_secs(600);

/// A worker that has had nothing to do for this long is ended, and its memory with it.
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// Files after which a worker is replaced, so that leaks and fragmentation stay small.
pub const FILES_PER_WORKER: u32 = 500;

/// Memory that a worker may keep between two files before it is replaced: 256 MiB.
pub const KEPT_MEMORY_BYTES: u64 = 256 << 20;

/// Pages of one PDF that are read; the rest is left out and a note says so.
///
/// The page count is a number in the file that a broken file sets to anything.
pub const PAGES: usize = 20_000;

/// Entries in a ZIP container (a DOCX holds 10 to a few hundred).
pub const ZIP_ENTRIES: usize = 10_000;

/// Bytes that all entries of a ZIP container may inflate to.
pub const ZIP_INFLATED_BYTES: u64 = 512 << 20;

/// Inflated to deflated size of one entry. Text deflates to a tenth, deflate's own limit is 1030.
pub const ZIP_RATIO: u64 = 200;

/// Entries smaller than this are not judged by [`ZIP_RATIO`]: a short run of blanks is no bomb.
pub const ZIP_RATIO_FLOOR_BYTES: u64 = 1 << 20;

/// Open elements in an XML part of a DOCX. A table inside a table costs about four.
pub const XML_DEPTH: usize = 256;

/// Open elements in a web page, those not counted that end by themselves; deeper ones lose their
/// tags and keep their text.
///
/// Browsers do the same at 512, pages stay below 50. Searching a tree takes time for each level.
pub const HTML_DEPTH: usize = 128;

/// Lists and quotations inside of each other; deeper ones lose their tags and keep their text.
///
/// Each level indents all lines below it, so that deep ones would grow the text with the square.
pub const HTML_INDENTS: usize = 12;

/// A tag longer than this loses its attributes: they are data URIs, or an attack on the duplicate
/// check of HTML parsers, which takes time that grows with the square of their number.
pub const HTML_TAG_BYTES: usize = 8 << 10;

/// Web pages up to this size, without scripts, styles and embedded data, are searched for their
/// article; larger ones are taken whole. Finding the article takes about a second for each MiB.
pub const HTML_ARTICLE_BYTES: usize = 4 << 20;

/// Web pages are searched for their article up to this number of elements, each counted as many
/// times as elements are open around it. Thirty times what the largest of the test pages has; about
/// a second.
pub const HTML_ARTICLE_TREE_COST: usize = 500_000;

/// Columns of a table that are kept; cells beyond are left out and a note says so.
pub const TABLE_COLUMNS: usize = 256;

/// Rows of a table that are kept; rows beyond are left out and a note says so.
pub const TABLE_ROWS: usize = 200_000;

/// A cell longer than this means that the quotes of the table are broken: 64 KiB.
pub const TABLE_CELL_BYTES: usize = 64 << 10;
