//! Tables of the index: names, columns, and rows to and from Arrow.
//!
//! Never reads or writes a file. `FORMAT.md` describes the same for people; a change here is a change
//! there and a new [`INDEX_FORMAT_VERSION`].

use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Int8Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int8Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::chunk::{CHUNKER_VERSION, Chunk};
use crate::error::Fault;
use crate::key::{ChunkHash, EmbedderKey};
use crate::resident::quantize;
use crate::store::SourceChunks;

/// Version of the folder's layout and of the tables' columns.
///
/// An index of another version is set aside and built anew.
pub const INDEX_FORMAT_VERSION: u32 = 1;

/// Chunk index of the row that stands for a source without any chunk.
///
/// Without such a row an empty document would look new at every start.
pub(crate) const NO_CHUNK: u32 = u32::MAX;

/// Columns of the table of chunks.
pub(crate) mod chunk_column {
    pub(crate) const SOURCE: &str = "source";
    pub(crate) const SOURCE_VERSION: &str = "source_version";
    pub(crate) const CHUNK_INDEX: &str = "chunk_index";
    pub(crate) const HASH: &str = "hash";
    pub(crate) const RANGE_START: &str = "range_start";
    pub(crate) const RANGE_END: &str = "range_end";
    pub(crate) const PAGE: &str = "page";
    pub(crate) const HEADING_PATH: &str = "heading_path";
    pub(crate) const TITLE: &str = "title";
    pub(crate) const PATH: &str = "path";
    pub(crate) const TEXT_START: &str = "text_start";
    pub(crate) const SEARCH_TEXT: &str = "search_text";
}

/// Columns of a table of embeddings.
pub(crate) mod embedding_column {
    pub(crate) const HASH: &str = "hash";
    pub(crate) const VECTOR: &str = "vector";
    pub(crate) const CODES: &str = "codes";
    pub(crate) const SCALE: &str = "scale";
}

/// Name of the table of chunks made by this version of the chunker.
pub(crate) fn chunk_table() -> String {
    format!("chunks_c{CHUNKER_VERSION}")
}

/// Name of the table of an embedder's vectors.
pub(crate) fn embedding_table(key: &EmbedderKey) -> String {
    format!("embeddings_{}_{}_c{CHUNKER_VERSION}", key.id, key.dim)
}

/// Whether a table holds what another version of the chunker made.
pub(crate) fn is_outdated_table(name: &str) -> bool {
    let ours = format!("_c{CHUNKER_VERSION}");
    (name.starts_with("chunks_c") || name.starts_with("embeddings_")) && !name.ends_with(&ours)
}

/// Columns of the table of chunks.
pub(crate) fn chunk_schema() -> SchemaRef {
    use chunk_column::*;
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field(SOURCE, DataType::FixedSizeBinary(16)),
        field(SOURCE_VERSION, DataType::Utf8),
        field(CHUNK_INDEX, DataType::UInt32),
        field(HASH, DataType::FixedSizeBinary(16)),
        field(RANGE_START, DataType::UInt64),
        field(RANGE_END, DataType::UInt64),
        Field::new(PAGE, DataType::UInt32, true),
        field(HEADING_PATH, DataType::List(heading_field())),
        field(TITLE, DataType::Utf8),
        field(PATH, DataType::Utf8),
        field(TEXT_START, DataType::UInt32),
        field(SEARCH_TEXT, DataType::Utf8),
    ]))
}

/// Columns of a table of embeddings of `dim` numbers.
pub(crate) fn embedding_schema(dim: usize) -> SchemaRef {
    use embedding_column::*;
    let list = |kind: DataType| DataType::FixedSizeList(item_field(kind), list_len(dim));
    Arc::new(Schema::new(vec![
        Field::new(HASH, DataType::FixedSizeBinary(16), false),
        Field::new(VECTOR, list(DataType::Float32), false),
        Field::new(CODES, list(DataType::Int8), false),
        Field::new(SCALE, DataType::Float32, false),
    ]))
}

fn heading_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Utf8, false))
}

/// Items of vectors. Lance does not keep their nullability and reads them back as nullable.
fn item_field(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, true))
}

fn list_len(dim: usize) -> i32 {
    i32::try_from(dim).expect("an embedder's dimension is checked to be at most 16,384")
}

/// The rows of some sources.
pub(crate) fn chunk_batch(sources: &[SourceChunks]) -> Result<RecordBatch, Fault> {
    let mut rows = ChunkRows::default();
    for source in sources {
        if source.chunks.is_empty() {
            rows.push(source, None);
        }
        for chunk in &source.chunks {
            rows.push(source, Some(chunk));
        }
    }
    rows.finish()
}

/// Columns of chunks in the making.
struct ChunkRows {
    source: FixedSizeBinaryBuilder,
    source_version: StringBuilder,
    chunk_index: Vec<u32>,
    hash: FixedSizeBinaryBuilder,
    range_start: Vec<u64>,
    range_end: Vec<u64>,
    page: Vec<Option<u32>>,
    heading_path: ListBuilder<StringBuilder>,
    title: StringBuilder,
    path: StringBuilder,
    text_start: Vec<u32>,
    search_text: StringBuilder,
}

impl Default for ChunkRows {
    fn default() -> Self {
        Self {
            source: FixedSizeBinaryBuilder::new(16),
            source_version: StringBuilder::new(),
            chunk_index: Vec::new(),
            hash: FixedSizeBinaryBuilder::new(16),
            range_start: Vec::new(),
            range_end: Vec::new(),
            page: Vec::new(),
            heading_path: ListBuilder::new(StringBuilder::new()).with_field(heading_field()),
            title: StringBuilder::new(),
            path: StringBuilder::new(),
            text_start: Vec::new(),
            search_text: StringBuilder::new(),
        }
    }
}

impl ChunkRows {
    fn push(&mut self, source: &SourceChunks, chunk: Option<&Chunk>) {
        let search_text = chunk.map(Chunk::embedded_text).unwrap_or_default();
        let text_start = chunk.map_or(0, |chunk| search_text.len() - chunk.text.len());
        // Both builders are made for 16 bytes, which is what a hash and an id have.
        self.source
            .append_value(source.source.0)
            .expect("an id has 16 bytes");
        self.hash
            .append_value(ChunkHash::of(&search_text).0)
            .expect("a hash has 16 bytes");
        self.source_version.append_value(&source.version);
        self.chunk_index
            .push(chunk.map_or(NO_CHUNK, |chunk| chunk.index));
        self.range_start
            .push(chunk.map_or(0, |chunk| chunk.range.start as u64));
        self.range_end
            .push(chunk.map_or(0, |chunk| chunk.range.end as u64));
        self.page.push(chunk.and_then(|chunk| chunk.page));
        for heading in chunk.iter().flat_map(|chunk| &chunk.heading_path) {
            self.heading_path.values().append_value(heading);
        }
        self.heading_path.append(true);
        self.title.append_value(&source.title);
        self.path.append_value(&source.path);
        self.text_start.push(u32::try_from(text_start).unwrap_or(0));
        self.search_text.append_value(search_text);
    }

    fn finish(mut self) -> Result<RecordBatch, Fault> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.source.finish()),
            Arc::new(self.source_version.finish()),
            Arc::new(UInt32Array::from(self.chunk_index)),
            Arc::new(self.hash.finish()),
            Arc::new(UInt64Array::from(self.range_start)),
            Arc::new(UInt64Array::from(self.range_end)),
            Arc::new(UInt32Array::from(self.page)),
            Arc::new(self.heading_path.finish()),
            Arc::new(self.title.finish()),
            Arc::new(self.path.finish()),
            Arc::new(UInt32Array::from(self.text_start)),
            Arc::new(self.search_text.finish()),
        ];
        RecordBatch::try_new(chunk_schema(), columns).map_err(Fault::of_write)
    }
}

/// The rows of some embeddings of `dim` numbers each.
pub(crate) fn embedding_batch(
    dim: usize,
    embeddings: &[(ChunkHash, Vec<f32>)],
) -> Result<RecordBatch, Fault> {
    let mut hash = FixedSizeBinaryBuilder::with_capacity(embeddings.len(), 16);
    let mut vectors = Vec::with_capacity(embeddings.len() * dim);
    let mut codes = Vec::with_capacity(embeddings.len() * dim);
    let mut scales = Vec::with_capacity(embeddings.len());
    for (key, vector) in embeddings {
        let quantized = quantize(vector);
        hash.append_value(key.0).expect("a hash has 16 bytes");
        vectors.extend_from_slice(vector);
        codes.extend(quantized.codes);
        scales.push(quantized.scale);
    }
    let list = |kind: DataType, values: ArrayRef| {
        FixedSizeListArray::try_new(item_field(kind), list_len(dim), values, None)
            .map_err(Fault::of_write)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(hash.finish()),
        Arc::new(list(
            DataType::Float32,
            Arc::new(Float32Array::from(vectors)),
        )?),
        Arc::new(list(DataType::Int8, Arc::new(Int8Array::from(codes)))?),
        Arc::new(Float32Array::from(scales)),
    ];
    RecordBatch::try_new(embedding_schema(dim), columns).map_err(Fault::of_write)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Fault> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Fault::damage(format!("column {name} is missing")))
}

fn wrong_type(name: &str) -> Fault {
    Fault::damage(format!("column {name} has another type"))
}

/// A column of texts.
pub(crate) fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Fault> {
    column(batch, name)?
        .as_string_opt()
        .ok_or_else(|| wrong_type(name))
}

/// A column of numbers.
pub(crate) fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, Fault> {
    column(batch, name)?
        .as_primitive_opt()
        .ok_or_else(|| wrong_type(name))
}

/// A column of ids or hashes.
pub(crate) fn ids<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a FixedSizeBinaryArray, Fault> {
    let ids = column(batch, name)?
        .as_fixed_size_binary_opt()
        .ok_or_else(|| wrong_type(name))?;
    if ids.value_length() == 16 {
        Ok(ids)
    } else {
        Err(wrong_type(name))
    }
}

/// One id or hash of a column from [`ids`].
pub(crate) fn id(ids: &FixedSizeBinaryArray, row: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(ids.value(row));
    id
}

/// The numbers of a column of vectors of `dim` numbers, row-major.
fn vectors<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
    dim: usize,
) -> Result<&'a [T::Native], Fault> {
    let lists = column(batch, name)?
        .as_fixed_size_list_opt()
        .ok_or_else(|| wrong_type(name))?;
    let values: &PrimitiveArray<T> = lists
        .values()
        .as_primitive_opt()
        .ok_or_else(|| wrong_type(name))?;
    let from = lists.value_offset(0) as usize;
    let to = from + lists.len() * dim;
    if lists.value_length() != list_len(dim) {
        return Err(wrong_type(name));
    }
    values
        .values()
        .get(from..to)
        .ok_or_else(|| wrong_type(name))
}

/// The exact vectors of rows, row-major.
pub(crate) fn exact_vectors(batch: &RecordBatch, dim: usize) -> Result<&[f32], Fault> {
    vectors::<Float32Type>(batch, embedding_column::VECTOR, dim)
}

/// The 8-bit codes of rows, row-major.
pub(crate) fn codes(batch: &RecordBatch, dim: usize) -> Result<&[i8], Fault> {
    vectors::<Int8Type>(batch, embedding_column::CODES, dim)
}

/// Columns that a hit is made of, in the order of [`ChunkColumns`].
pub(crate) const HIT_COLUMNS: [&str; 9] = [
    chunk_column::CHUNK_INDEX,
    chunk_column::RANGE_START,
    chunk_column::RANGE_END,
    chunk_column::PAGE,
    chunk_column::HEADING_PATH,
    chunk_column::TITLE,
    chunk_column::PATH,
    chunk_column::TEXT_START,
    chunk_column::SEARCH_TEXT,
];

/// A chunk as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// Position among the source's chunks, from 0.
    pub chunk_index: u32,
    /// UTF-8 byte range in the source's text.
    pub range: std::ops::Range<usize>,
    /// Headings above it, outermost first.
    pub heading_path: Vec<String>,
    /// Page on which it begins, from 1, where the original has pages.
    pub page: Option<u32>,
    /// The source's text at `range`.
    pub text: String,
}

/// The columns of [`HIT_COLUMNS`] of some rows.
pub(crate) struct ChunkColumns<'a> {
    chunk_index: &'a UInt32Array,
    range_start: &'a UInt64Array,
    range_end: &'a UInt64Array,
    page: &'a UInt32Array,
    heading_path: &'a ListArray,
    title: &'a StringArray,
    path: &'a StringArray,
    text_start: &'a UInt32Array,
    search_text: &'a StringArray,
}

impl<'a> ChunkColumns<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, Fault> {
        use chunk_column::*;
        Ok(Self {
            chunk_index: numbers::<UInt32Type>(batch, CHUNK_INDEX)?,
            range_start: numbers::<UInt64Type>(batch, RANGE_START)?,
            range_end: numbers::<UInt64Type>(batch, RANGE_END)?,
            page: numbers::<UInt32Type>(batch, PAGE)?,
            heading_path: column(batch, HEADING_PATH)?
                .as_list_opt()
                .ok_or_else(|| wrong_type(HEADING_PATH))?,
            title: strings(batch, TITLE)?,
            path: strings(batch, PATH)?,
            text_start: numbers::<UInt32Type>(batch, TEXT_START)?,
            search_text: strings(batch, SEARCH_TEXT)?,
        })
    }

    /// Title of a row's source.
    pub(crate) fn title(&self, row: usize) -> &'a str {
        self.title.value(row)
    }

    /// Path of a row's source.
    pub(crate) fn path(&self, row: usize) -> &'a str {
        self.path.value(row)
    }

    /// What is embedded and indexed of a row.
    pub(crate) fn search_text(&self, row: usize) -> &'a str {
        self.search_text.value(row)
    }

    pub(crate) fn chunk(&self, row: usize) -> Result<StoredChunk, Fault> {
        let headings = self.heading_path.value(row);
        let headings: &StringArray = headings
            .as_string_opt()
            .ok_or_else(|| wrong_type(chunk_column::HEADING_PATH))?;
        let text = self
            .search_text
            .value(row)
            .get(self.text_start.value(row) as usize..)
            .ok_or_else(|| Fault::damage("a chunk's text begins behind its end"))?;
        Ok(StoredChunk {
            chunk_index: self.chunk_index.value(row),
            range: self.range_start.value(row) as usize..self.range_end.value(row) as usize,
            heading_path: headings.iter().flatten().map(str::to_owned).collect(),
            page: self.page.is_valid(row).then(|| self.page.value(row)),
            text: text.to_owned(),
        })
    }
}
