//! Reads CSV and TSV into one Markdown pipe table, so that a row can be found and cited.
//!
//! Pure. The delimiter is measured, not trusted from the name; ragged rows are filled, broken
//! quotes are survived. Start at [`extract`].

use csv::{ByteRecord, ReaderBuilder};

use super::clean::{FormFeed, clean};
use super::decode::decode;
use super::detect;
use super::{Extracted, ParseError, TextKind, limits, notes, title};

/// The table of a CSV or TSV file as Markdown; a file of a single column stays plain text.
pub(crate) fn extract(name: &str, bytes: &[u8]) -> Result<Extracted, ParseError> {
    let decoded = decode(bytes, None)?;
    let cleaned = clean(&decoded.text, FormFeed::Whitespace);
    if cleaned.text.trim().is_empty() {
        return Err(ParseError::NoText {
            hint: "the table has no cells".to_owned(),
        });
    }
    let mut notes: Vec<String> = decoded.note.into_iter().collect();
    notes.extend(notes::invisible(cleaned.invisible));
    let (kind, text) = match Dialect::measure(&cleaned.text, name) {
        Some(dialect) => (
            TextKind::Markdown,
            to_markdown(&cleaned.text, dialect, &mut notes)?,
        ),
        None if cleaned.text.len() > limits::TEXT_BYTES => return Err(ParseError::text_too_large()),
        None => (TextKind::Plain, cleaned.text),
    };
    Ok(Extracted {
        title: title::from_name(name),
        kind,
        media_type: match detect::extension(name).as_str() {
            "tsv" | "tab" => "text/tab-separated-values".to_owned(),
            _ => "text/csv".to_owned(),
        },
        paged: false,
        text,
        pages: None,
        notes,
    })
}

/// How cells are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dialect {
    delimiter: u8,
    /// False where the quotes do not pair up, so that they are taken as ordinary characters.
    quoted: bool,
}

/// Text looked at to find the delimiter.
const SAMPLE_BYTES: usize = 64 << 10;

impl Dialect {
    /// The delimiter under which most rows have the same number of cells; none gives one column.
    fn measure(text: &str, name: &str) -> Option<Self> {
        let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
        // The last row of a cut sample is cut too.
        let sample = match sample.rfind('\n') {
            Some(end) if sample.len() < text.len() => &sample[..end],
            _ => sample,
        };
        let favourite = match detect::extension(name).as_str() {
            "tsv" | "tab" => b'\t',
            _ => b',',
        };
        [favourite, b',', b';', b'\t', b'|']
            .into_iter()
            .map(|delimiter| Self {
                delimiter,
                quoted: true,
            })
            .map(|dialect| (dialect, dialect.agreement(sample)))
            .filter(|(_, agreement)| *agreement > 0.0)
            // `max_by` takes the last of equals; the favourite is first, so it is compared last.
            .rev()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(dialect, _)| Self {
                quoted: quotes_pair_up(text, dialect.delimiter),
                ..dialect
            })
    }

    /// Share of rows that have the commonest number of cells, and slightly more for more cells;
    /// 0 where that number is one.
    fn agreement(self, sample: &str) -> f64 {
        let mut rows_by_cells = std::collections::BTreeMap::new();
        let mut rows = 0_u32;
        let mut reader = self.reader(sample);
        let mut record = ByteRecord::new();
        while rows < 500 && reader.read_byte_record(&mut record).unwrap_or(false) {
            *rows_by_cells.entry(record.len()).or_insert(0_u32) += 1;
            rows += 1;
        }
        let commonest = rows_by_cells
            .into_iter()
            .max_by_key(|(cells, rows)| (*rows, *cells));
        match commonest {
            Some((cells, agreeing)) if cells > 1 => {
                f64::from(agreeing) / f64::from(rows) + 0.01 * cells.min(10) as f64
            }
            _ => 0.0,
        }
    }

    fn reader(self, text: &str) -> csv::Reader<&[u8]> {
        ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .quoting(self.quoted)
            .from_reader(text.as_bytes())
    }
}

/// One stray quote would swallow the rest of the file into a single cell.
fn quotes_pair_up(text: &str, delimiter: u8) -> bool {
    /// A cell of more lines than this is no cell.
    const CELL_LINES: usize = 200;
    let mut reader = Dialect {
        delimiter,
        quoted: true,
    }
    .reader(text);
    let mut record = ByteRecord::new();
    let mut last_cell_has_lines = false;
    while let Ok(true) = reader.read_byte_record(&mut record) {
        for cell in &record {
            let lines = cell.iter().filter(|byte| **byte == b'\n').count();
            if cell.len() > limits::TABLE_CELL_BYTES || lines > CELL_LINES {
                return false;
            }
            last_cell_has_lines = lines > 0;
        }
    }
    !last_cell_has_lines || text.trim_end().ends_with('"')
}

fn to_markdown(
    text: &str,
    dialect: Dialect,
    notes: &mut Vec<String>,
) -> Result<String, ParseError> {
    let shape = Shape::measure(text, dialect);
    notes.extend(notes::left_out(
        "columns",
        limits::TABLE_COLUMNS,
        shape.columns,
    ));
    notes.extend(notes::left_out("rows", limits::TABLE_ROWS, shape.rows));
    let columns = shape.columns.min(limits::TABLE_COLUMNS);
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut reader = dialect.reader(text);
    let mut record = ByteRecord::new();
    let mut rows = 0;
    while rows < limits::TABLE_ROWS && reader.read_byte_record(&mut record).unwrap_or(false) {
        if rows == 0 {
            write_header(&mut out, &record, columns);
        } else {
            write_row(&mut out, record.iter(), columns);
        }
        rows += 1;
        if out.len() > limits::TEXT_BYTES {
            return Err(ParseError::text_too_large());
        }
    }
    Ok(out)
}

/// A table of rows that were read elsewhere. What is beyond the limits is left out, with a note.
pub(super) fn of_rows(rows: &[Vec<String>], notes: &mut Vec<String>) -> Result<String, ParseError> {
    let filled = |row: &Vec<String>| {
        let last = row.iter().rposition(|cell| !cell.trim().is_empty());
        last.map_or(0, |last| last + 1)
    };
    let columns = rows.iter().map(filled).max().unwrap_or(1).max(1);
    notes.extend(notes::left_out("columns", limits::TABLE_COLUMNS, columns));
    notes.extend(notes::left_out("rows", limits::TABLE_ROWS, rows.len()));
    let columns = columns.min(limits::TABLE_COLUMNS);
    let mut out = String::new();
    for (index, row) in rows.iter().take(limits::TABLE_ROWS).enumerate() {
        let record = ByteRecord::from(row.iter().map(String::as_bytes).collect::<Vec<_>>());
        if index == 0 {
            write_header(&mut out, &record, columns);
        } else {
            write_row(&mut out, record.iter(), columns);
        }
        if out.len() > limits::TEXT_BYTES {
            return Err(ParseError::text_too_large());
        }
    }
    Ok(out)
}

/// Rows and columns of the whole file, known before a header of the right width is written.
struct Shape {
    rows: usize,
    columns: usize,
}

impl Shape {
    fn measure(text: &str, dialect: Dialect) -> Self {
        let mut shape = Self {
            rows: 0,
            columns: 1,
        };
        let mut reader = dialect.reader(text);
        let mut record = ByteRecord::new();
        while let Ok(true) = reader.read_byte_record(&mut record) {
            shape.rows += 1;
            // Trailing delimiters give empty cells that say nothing.
            let cells = record
                .iter()
                .rposition(|cell| !cell.is_empty())
                .map_or(0, |last| last + 1);
            shape.columns = shape.columns.max(cells);
        }
        shape
    }
}

/// The first row names the columns, unless it is numbers only.
fn write_header(out: &mut String, first: &ByteRecord, columns: usize) {
    let is_data = first
        .iter()
        .all(|cell| std::str::from_utf8(cell).is_ok_and(|cell| cell.trim().parse::<f64>().is_ok()));
    let numbered: Vec<String>;
    if is_data {
        numbered = (1..=columns)
            .map(|column| format!("Column {column}"))
            .collect();
        write_row(out, numbered.iter().map(String::as_bytes), columns);
    } else {
        write_row(out, first.iter(), columns);
    }
    out.push('|');
    for _ in 0..columns {
        out.push_str(" --- |");
    }
    out.push('\n');
    if is_data {
        write_row(out, first.iter(), columns);
    }
}

fn write_row<'a>(out: &mut String, cells: impl Iterator<Item = &'a [u8]>, columns: usize) {
    let mut cells = cells.take(columns);
    out.push('|');
    for _ in 0..columns {
        out.push(' ');
        write_cell(out, cells.next().unwrap_or_default());
        out.push_str(" |");
    }
    out.push('\n');
}

/// One line, with pipes escaped, since either would end the cell.
fn write_cell(out: &mut String, cell: &[u8]) {
    let cell = String::from_utf8_lossy(cell);
    for (index, word) in cell.split_whitespace().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(&word.replace('|', "\\|"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, text: &str) -> String {
        extract(name, text.as_bytes()).unwrap().text
    }

    #[test]
    fn a_table_becomes_a_pipe_table() {
        let text = "name,note\n\"Smith, Ann\",\"likes | pipes\nand lines\"\nBob\n";
        assert_eq!(
            table("a.csv", text),
            "| name | note |\n| --- | --- |\n| Smith, Ann | likes \\| pipes and lines |\n| Bob |  |\n"
        );
    }

    #[test]
    fn the_delimiter_is_measured() {
        let semicolons = "a;b;c\n1,5;2,5;3,5\n4,5;5,5;6,5\n";
        assert!(
            table("a.csv", semicolons).starts_with("| a | b | c |\n| --- | --- | --- |\n| 1,5 |")
        );
        assert!(table("a.csv", "a\tb\n1\t2\n").starts_with("| a | b |"));
        assert!(table("a.tsv", "a\tb, c\n1\t2, 3\n").starts_with("| a | b, c |"));
    }

    #[test]
    fn numbers_only_get_numbered_columns() {
        assert_eq!(
            table("a.csv", "1,2\n3,4\n"),
            "| Column 1 | Column 2 |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n"
        );
    }

    #[test]
    fn a_single_column_stays_text() {
        let out = extract("list.csv", b"apples\npears\n").unwrap();
        assert_eq!(
            (out.kind, out.text.as_str()),
            (TextKind::Plain, "apples\npears\n")
        );
    }

    #[test]
    fn a_stray_quote_does_not_swallow_the_rest() {
        let text = format!("a,b\n\"12,13\n{}", "1,2\n".repeat(40_000));
        assert_eq!(table("a.csv", &text).lines().count(), 40_003);
        let short = "a,b\n1,\"2\n3,4\n5,6\n";
        assert_eq!(table("a.csv", short).lines().count(), 5);
    }

    #[test]
    fn very_wide_and_very_long_tables_are_cut_with_a_note() {
        let wide = format!("{}\n{}\n", "a,".repeat(1000), "1,".repeat(1000));
        let out = extract("wide.csv", wide.as_bytes()).unwrap();
        assert_eq!(out.notes, ["only the first 256 of 1000 columns were kept"]);
        let long = format!("a,b\n{}", "1,2\n".repeat(limits::TABLE_ROWS + 5));
        let out = extract("long.csv", long.as_bytes()).unwrap();
        assert_eq!(
            out.notes,
            ["only the first 200000 of 200006 rows were kept"]
        );
        assert_eq!(out.text.lines().count(), limits::TABLE_ROWS + 1);
    }
}
