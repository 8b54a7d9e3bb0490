//! Records to Arrow batches.

use super::names::{Dictionary, Names, nameless};
use super::schema::{DictionaryKey, FIXED, schema};
use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::new_null_array;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use mmtrace_common::{Column, FieldType, Kind, Record, SPECS, Slot};
use mmtrace_model::context::Context;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows after which a writer closes a batch.
pub(super) const BATCH_ROWS: usize = 16_384;

/// A bitmap, one bit per row, least significant first as Arrow has it. Empty until a bit is set.
#[derive(Debug, Default)]
struct Bits(Vec<u8>);

impl Bits {
    #[inline]
    fn set(&mut self, row: usize) {
        let byte = row >> 3;
        if byte >= self.0.len() {
            self.0.resize((byte + 1).max(BATCH_ROWS / 8), 0);
        }
        self.0[byte] |= 1 << (row & 7);
    }

    /// Sets the bits of these rows.
    fn set_all(&mut self, rows: Range<usize>) {
        let Range { start, end } = rows;
        if start == end {
            return;
        }
        let (first, last) = (start >> 3, (end - 1) >> 3);
        if last >= self.0.len() {
            self.0.resize((last + 1).max(BATCH_ROWS / 8), 0);
        }
        let (head, tail) = (0xff_u8 << (start & 7), 0xff_u8 >> (7 - ((end - 1) & 7)));
        if first == last {
            self.0[first] |= head & tail;
            return;
        }
        self.0[first] |= head;
        self.0[first + 1..last].fill(0xff);
        self.0[last] |= tail;
    }

    /// Returns the first `rows` bits, as the builder whose result Arrow takes.
    fn builder(mut self, rows: usize) -> BooleanBufferBuilder {
        self.0.resize(rows.div_ceil(8), 0);
        let mut bits = BooleanBufferBuilder::new(rows);
        bits.append_packed_range(0..rows, &self.0);
        bits
    }
}

/// The values of a column so far. Shorter than the batch where the last rows are null.
#[derive(Debug)]
enum Values {
    U64(Vec<u64>),
    I32(Vec<i32>),
    Bool(Bits),
    Name { keys: Vec<i32>, extra: Vec<u64>, extra_keys: FxHashMap<u64, i32> },
}

/// Adds values from a row on. Rows before it that had none are null.
#[inline]
fn put<T: Copy + Default>(values: &mut Vec<T>, row: usize, more: impl ExactSizeIterator<Item = T>) {
    if values.len() < row || values.capacity() == 0 {
        fill(values, row);
    }
    values.extend(more);
}

#[cold]
fn first<T>(values: &mut Vec<T>) {
    values.reserve_exact(BATCH_ROWS);
}

/// Nulls for the rows that had no value.
fn fill<T: Copy + Default>(values: &mut Vec<T>, row: usize) {
    if values.capacity() == 0 {
        first(values);
    }
    values.resize(row, T::default());
}

fn filled<T: ArrowPrimitiveType>(mut values: Vec<T::Native>, valid: Bits, rows: usize) -> PrimitiveArray<T> {
    values.resize(rows, T::Native::default());
    PrimitiveArray::new(values.into(), Some(valid.builder(rows).finish().into()))
}

/// One nullable column in the making.
#[derive(Debug)]
struct Cells {
    values: Values,
    valid: Bits,
}

impl Cells {
    fn new(ty: FieldType) -> Self {
        let values = match ty {
            FieldType::Hex
            | FieldType::Uint
            | FieldType::Time
            | FieldType::Text
            | FieldType::Walk
            | FieldType::VmaFacts => Values::U64(Vec::new()),
            FieldType::Int => Values::I32(Vec::new()),
            FieldType::Bool => Values::Bool(Bits::default()),
            FieldType::Enum(_) | FieldType::Kind | FieldType::Call => {
                Values::Name { keys: Vec::new(), extra: Vec::new(), extra_keys: FxHashMap::default() }
            }
        };
        Self { values, valid: Bits::default() }
    }

    /// Adds the values of a run of records from a row on.
    fn put(&mut self, row: usize, run: &[Record], FieldPlace { column, slot }: FieldPlace, names: &Names) {
        let raw = run.iter().map(|record| slot.get(record));
        self.valid.set_all(row..row + run.len());
        match &mut self.values {
            Values::U64(values) => put(values, row, raw),
            Values::I32(values) => put(values, row, raw.map(|raw| raw as i32)),
            // The kernel's bool is a byte; the rest of a register is whatever it was.
            Values::Bool(bits) => {
                let set = raw.enumerate().filter(|(_, raw)| raw & 0xff != 0);
                set.for_each(|(index, _)| bits.set(row + index));
            }
            Values::Name { keys, extra, extra_keys } => {
                let Some(dictionary) = names.column(column) else { return };
                let key = |raw| {
                    dictionary.key(raw).unwrap_or_else(|| {
                        *extra_keys.entry(raw).or_insert_with(|| {
                            extra.push(raw);
                            (dictionary.names().len() + extra.len() - 1) as i32
                        })
                    })
                };
                put(keys, row, raw.map(key));
            }
        }
    }

    /// Returns the column, or `None` when no row has a value. Leaves it empty for the next batch.
    fn finish(
        &mut self,
        ty: FieldType,
        rows: usize,
        dictionary: Option<&Dictionary>,
    ) -> Result<Option<ArrayRef>, ArrowError> {
        if self.valid.0.is_empty() {
            return Ok(None);
        }
        let Cells { values, valid } = std::mem::replace(self, Self::new(ty));
        Ok(Some(match values {
            Values::U64(values) => Arc::new(filled::<UInt64Type>(values, valid, rows)),
            Values::I32(values) => Arc::new(filled::<Int32Type>(values, valid, rows)),
            Values::Bool(bits) => {
                Arc::new(BooleanArray::new(bits.builder(rows).finish(), Some(valid.builder(rows).finish().into())))
            }
            Values::Name { keys, extra, .. } => {
                let names: Arc<StringArray> = match dictionary {
                    Some(d) if extra.is_empty() => d.array(),
                    Some(d) => Arc::new(StringArray::from_iter_values(
                        d.names().iter().cloned().chain(extra.into_iter().map(nameless)),
                    )),
                    None => Arc::new(StringArray::new_null(0)),
                };
                Arc::new(DictionaryArray::<DictionaryKey>::try_new(filled::<Int32Type>(keys, valid, rows), names)?)
            }
        }))
    }
}

/// Slot of a field in the records of a kind, and its column.
#[derive(Clone, Copy, Debug)]
struct FieldPlace {
    column: Column,
    slot: Slot,
}

/// The fields of one kind that the kernel has.
#[derive(Clone, Debug)]
struct KindFields {
    key: i32,
    places: Vec<FieldPlace>,
}

/// Returns a column without values. A dictionary column has its names nevertheless: a stream would send them again
/// after a batch that has others.
fn new_nulls(schema: &Schema, column: Column, names: &Names, rows: usize) -> ArrayRef {
    let nulls = new_null_array(schema.field(FIXED.len() + column as usize).data_type(), rows);
    match (names.column(column), nulls.as_any().downcast_ref::<DictionaryArray<DictionaryKey>>()) {
        (Some(names), Some(array)) => Arc::new(array.with_values(names.array())),
        _ => nulls,
    }
}

/// A finished batch, with what the manifest says about it.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// The rows, in the capture's schema.
    pub(super) rows: RecordBatch,
    /// Smallest `ts`, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) first_ts: u64,
    /// Largest `ts`.
    pub(super) last_ts: u64,
    /// Rows by kind, in the order of [`SPECS`].
    pub(super) kinds: Vec<u64>,
    /// Events that `loss` rows say are missing.
    pub(super) lost: u64,
    /// Events that `missed` rows say are missing.
    pub(super) missed: u64,
    /// Time until which events may be missing according to rows, nanoseconds; 0: none are missing.
    pub(super) missing_until: u64,
}

/// Collects records, column by column. A column that an event does not have costs it
/// nothing: nulls are filled in when the column next gets a value, or at the end.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    schema: SchemaRef,
    names: Arc<Names>,
    fields_of_kinds: Vec<Option<KindFields>>,
    ts: Vec<u64>,
    cpu: Vec<u16>,
    pid: Vec<u32>,
    tid: Vec<u32>,
    kind: Vec<i32>,
    mm: Vec<u64>,
    mm_valid: Bits,
    cells: Vec<Cells>,
    /// One all-null array per column, sliced for batches that do not touch it.
    nulls: Vec<ArrayRef>,
    lost: u64,
    missed: u64,
    missing_until: u64,
    unknown: u64,
}

impl BatchBuilder {
    /// Returns a builder for the events of one recording. Columns that its kernel's events lack stay null.
    pub(super) fn new(context: &Context) -> Self {
        let schema = schema();
        let names = Arc::new(Names::new(context));
        let mut fields_of_kinds = vec![None; 1 + SPECS.iter().map(|s| usize::from(s.kind as u16)).max().unwrap_or(0)];
        for (key, spec) in SPECS.iter().enumerate() {
            let absent = context.probe(spec.kind).map_or(&[][..], |p| &p.absent);
            let present = spec.fields.iter().filter(|f| !absent.iter().any(|a| a == f.column.name()));
            let places = present.map(|f| FieldPlace { column: f.column, slot: f.slot }).collect();
            fields_of_kinds[usize::from(spec.kind as u16)] = Some(KindFields { key: key as i32, places });
        }
        let nulls = Column::ALL.iter().map(|c| new_nulls(&schema, *c, &names, BATCH_ROWS)).collect();
        Self {
            names,
            fields_of_kinds,
            ts: Vec::with_capacity(BATCH_ROWS),
            cpu: Vec::with_capacity(BATCH_ROWS),
            pid: Vec::with_capacity(BATCH_ROWS),
            tid: Vec::with_capacity(BATCH_ROWS),
            kind: Vec::with_capacity(BATCH_ROWS),
            mm: Vec::new(),
            mm_valid: Bits::default(),
            cells: Column::ALL.iter().map(|c| Cells::new(c.ty())).collect(),
            nulls,
            schema,
            lost: 0,
            missed: 0,
            missing_until: 0,
            unknown: 0,
        }
    }

    /// Adds records. Those of kinds that this build does not know are only counted: [`BatchBuilder::unknown`].
    ///
    /// Most events come in runs of one kind, which have the same columns: a column takes the values of a whole run at a time.
    pub(super) fn append(&mut self, records: &[Record]) {
        records.chunk_by(|one, next| one.kind == next.kind).for_each(|run| self.append_run(run));
    }

    /// Adds records of one kind.
    fn append_run(&mut self, run: &[Record]) {
        let kind = run.first().map_or(0, |record| record.kind);
        let Some(Some(of_kind)) = self.fields_of_kinds.get(usize::from(kind)) else {
            self.unknown += run.len() as u64;
            return;
        };
        let row = self.ts.len();
        self.ts.extend(run.iter().map(|record| record.ts));
        self.cpu.extend(run.iter().map(|record| record.cpu));
        self.pid.extend(run.iter().map(|record| record.tgid));
        self.tid.extend(run.iter().map(|record| record.tid));
        self.kind.resize(row + run.len(), of_kind.key);
        let mut next = row;
        for of_mm in run.chunk_by(|one, next| (one.mm == 0) == (next.mm == 0)) {
            let rows = next..next + of_mm.len();
            next = rows.end;
            if of_mm.first().is_some_and(|record| record.mm != 0) {
                put(&mut self.mm, rows.start, of_mm.iter().map(|record| record.mm));
                self.mm_valid.set_all(rows);
            }
        }
        for place in &of_kind.places {
            self.cells[place.column as usize].put(row, run, *place, &self.names);
        }
        if kind >= Kind::Loss as u16 {
            run.iter().for_each(|record| self.account(record));
        }
    }

    #[cold]
    fn account(&mut self, record: &Record) {
        let count = record.get(Column::Count).unwrap_or(0);
        self.missing_until = self.missing_until.max(record.get(Column::Until).unwrap_or(0));
        match record.kind() {
            Some(Kind::Loss) => self.lost = self.lost.saturating_add(count),
            Some(Kind::Missed) => self.missed = self.missed.saturating_add(count),
            _ => {}
        }
    }

    /// Counts the rows so far.
    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.ts.len()
    }

    /// Counts the records that were refused because of their kind.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Returns the rows so far as a batch, `None` when there are none. The builder starts over.
    ///
    /// # Errors
    ///
    /// Arrow refuses the columns, which would be a fault of this module.
    pub(super) fn finish(&mut self) -> Result<Option<Batch>, ArrowError> {
        let rows = self.rows();
        if rows == 0 {
            return Ok(None);
        }

        let ts = std::mem::replace(&mut self.ts, Vec::with_capacity(BATCH_ROWS));
        let cpu = std::mem::replace(&mut self.cpu, Vec::with_capacity(BATCH_ROWS));
        let pid = std::mem::replace(&mut self.pid, Vec::with_capacity(BATCH_ROWS));
        let tid = std::mem::replace(&mut self.tid, Vec::with_capacity(BATCH_ROWS));
        let kind = std::mem::replace(&mut self.kind, Vec::with_capacity(BATCH_ROWS));

        let mut kinds = vec![0; SPECS.len()];
        for key in &kind {
            kinds[*key as usize] += 1;
        }
        let first_ts = ts.iter().copied().min().unwrap_or(0);
        let last_ts = ts.iter().copied().max().unwrap_or(0);

        let kind = PrimitiveArray::<DictionaryKey>::new(kind.into(), None);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(PrimitiveArray::<UInt64Type>::new(ts.into(), None)),
            Arc::new(PrimitiveArray::<UInt16Type>::new(cpu.into(), None)),
            Arc::new(PrimitiveArray::<UInt32Type>::new(pid.into(), None)),
            Arc::new(PrimitiveArray::<UInt32Type>::new(tid.into(), None)),
            Arc::new(DictionaryArray::try_new(kind, self.names.kinds().array())?),
        ];
        let (mm, valid) = (std::mem::take(&mut self.mm), std::mem::take(&mut self.mm_valid));
        columns.push(Arc::new(filled::<UInt64Type>(mm, valid, rows)));
        for (column, nulls) in Column::ALL.iter().zip(&self.nulls) {
            let cells = self.cells[*column as usize].finish(column.ty(), rows, self.names.column(*column))?;
            columns.push(match cells {
                Some(cells) => cells,
                None if rows <= nulls.len() => nulls.slice(0, rows),
                None => new_nulls(&self.schema, *column, &self.names, rows),
            });
        }
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        let lost = std::mem::take(&mut self.lost);
        let missed = std::mem::take(&mut self.missed);
        let missing_until = std::mem::take(&mut self.missing_until);
        Ok(Some(Batch { rows, first_ts, last_ts, kinds, lost, missed, missing_until }))
    }
}
