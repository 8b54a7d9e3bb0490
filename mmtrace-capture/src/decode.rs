//! Arrow batches to records.

use super::names::Names;
use super::schema::DictionaryKey;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use mmtrace_common::{Call, Column, Field, FieldType, Kind, Record, Slot, spec};

/// Numbers of a batch's rows that became records and that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Rows turned into records.
    pub(crate) records: u64,
    /// Rows skipped because this build does not know their kind, or one of their names.
    pub(crate) unknown: u64,
}

/// A dictionary column, its names already turned into numbers.
struct Named<'a> {
    keys: &'a PrimitiveArray<DictionaryKey>,
    numbers: Vec<Option<u64>>,
}

/// The cells of a column that has values.
enum Cells<'a> {
    U64(&'a PrimitiveArray<UInt64Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    Bool(&'a BooleanArray),
    Name(Named<'a>),
}

/// A name that means nothing here.
struct Unknown;

impl Named<'_> {
    fn number(&self, row: usize) -> Result<u64, Unknown> {
        place(self.keys.values()[row], &self.numbers).copied().flatten().ok_or(Unknown)
    }
}

/// Returns what belongs to a key of a dictionary.
#[inline]
fn place<T>(key: i32, of: &[T]) -> Option<&T> {
    of.get(usize::try_from(key).ok()?)
}

impl Cells<'_> {
    /// Whether there is a value at all.
    fn has_values(&self) -> bool {
        let array: &dyn Array = match self {
            Self::U64(a) => a,
            Self::I32(a) => a,
            Self::Bool(a) => a,
            Self::Name(a) => a.keys,
        };
        array.null_count() < array.len()
    }

    /// Returns the raw bits of a row, 0 for null.
    #[inline]
    fn raw(&self, row: usize) -> Result<u64, Unknown> {
        Ok(match self {
            Self::U64(a) if a.is_valid(row) => a.values()[row],
            // As the kernel passes an int in a word: zero-extended.
            Self::I32(a) if a.is_valid(row) => u64::from(a.values()[row] as u32),
            Self::Bool(a) if a.is_valid(row) => u64::from(a.values().value(row)),
            Self::Name(a) if a.keys.is_valid(row) => a.number(row)?,
            _ => 0,
        })
    }
}

/// A kind of event, and where a batch has its values.
struct Layout<'a> {
    kind: Kind,
    fields: Vec<(Slot, &'a Cells<'a>)>,
}

impl<'a> Layout<'a> {
    fn new(kind: Kind, columns: &'a [Option<Cells<'a>>]) -> Self {
        let cells = |field: &Field| columns[field.column as usize].as_ref().map(|cells| (field.slot, cells));
        Self { kind, fields: spec(kind).fields.iter().filter_map(cells).collect() }
    }

    /// Puts the values of a row into a record.
    #[inline]
    fn fill(&self, row: usize, record: &mut Record) -> Result<(), Unknown> {
        for (slot, cells) in &self.fields {
            slot.put(cells.raw(row)?, &mut record.aux, &mut record.args);
        }
        Ok(())
    }
}

fn cast<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str, wanted: &str) -> Result<Option<&'a T>, String> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    match array.as_any().downcast_ref() {
        Some(array) => Ok(Some(array)),
        None => Err(format!("column {name} holds {}, expected {wanted}", array.data_type())),
    }
}

fn fixed<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>, String> {
    let wanted = T::DATA_TYPE.to_string();
    cast(batch, name, &wanted)?.ok_or_else(|| format!("column {name} is missing"))
}

fn named<'a>(
    batch: &'a RecordBatch,
    name: &str,
    number: impl Fn(&str) -> Option<u64>,
) -> Result<Option<Named<'a>>, String> {
    let wanted = "a dictionary of strings";
    let Some(array) = cast::<DictionaryArray<DictionaryKey>>(batch, name, wanted)? else { return Ok(None) };
    let names: &StringArray = array
        .values()
        .as_any()
        .downcast_ref()
        .ok_or_else(|| format!("column {name} holds {}, expected {wanted}", array.data_type()))?;
    Ok(Some(Named { keys: array.keys(), numbers: names.iter().map(|n| number(n?)).collect() }))
}

/// Appends a batch's records to `out`, in order.
///
/// Columns that this build does not know are ignored, and those that the batch does not have
/// read as 0. Rows of an unknown kind or with an unknown name are skipped and counted.
///
/// # Errors
///
/// A fixed column is missing, or a column has another type than its name says. `out` is then unchanged.
pub(super) fn decode(names: &Names, batch: &RecordBatch, out: &mut Vec<Record>) -> Result<Decoded, String> {
    let ts = fixed::<UInt64Type>(batch, "ts")?.values();
    let cpu = fixed::<UInt16Type>(batch, "cpu")?.values();
    let pid = fixed::<UInt32Type>(batch, "pid")?.values();
    let tid = fixed::<UInt32Type>(batch, "tid")?.values();
    let kinds = named(batch, "kind", |name| names.kind(name).map(u64::from))?.ok_or("column kind is missing")?;
    let mm = cast::<PrimitiveArray<UInt64Type>>(batch, "mm", "UInt64")?;
    let mut columns = Vec::with_capacity(Column::ALL.len());
    for column in Column::ALL {
        let name = column.name();
        let cells = match column.ty() {
            FieldType::Hex
            | FieldType::Uint
            | FieldType::Time
            | FieldType::Text
            | FieldType::Walk
            | FieldType::VmaFacts => cast(batch, name, "UInt64")?.map(Cells::U64),
            FieldType::Int => cast(batch, name, "Int32")?.map(Cells::I32),
            FieldType::Bool => cast(batch, name, "Boolean")?.map(Cells::Bool),
            FieldType::Enum(_) | FieldType::Kind => {
                named(batch, name, |name| names.number(*column, name))?.map(Cells::Name)
            }
            // A call that a later mmtrace has named is no reason to lose the event.
            FieldType::Call => {
                let number = |name: &str| names.number(*column, name).unwrap_or(Call::Unknown.number().into());
                named(batch, name, |name| Some(number(name)))?.map(Cells::Name)
            }
        };
        columns.push(cells.filter(Cells::has_values));
    }
    // One for each name in the dictionary of kinds.
    let layout = |number: &Option<u64>| Some(Layout::new(Kind::from_u16((*number)? as u16)?, &columns));
    let layouts: Vec<Option<Layout<'_>>> = kinds.numbers.iter().map(layout).collect();

    let mut decoded = Decoded::default();
    out.reserve(batch.num_rows());
    for row in 0..batch.num_rows() {
        let key = kinds.keys.is_valid(row).then(|| kinds.keys.values()[row]);
        let Some(layout) = key.and_then(|key| place(key, &layouts)?.as_ref()) else {
            decoded.unknown += 1;
            continue;
        };
        let mm = mm.filter(|a| a.is_valid(row)).map_or(0, |a| a.values()[row]);
        let (kind, tgid, tid) = (layout.kind as u16, pid[row], tid[row]);
        // The values are put where the record stays: copying it would wait for them to be written.
        out.push(Record { ts: ts[row], mm, tgid, tid, kind, cpu: cpu[row], ..Record::default() });
        let record = out.last_mut().expect("it was just added");
        if layout.fill(row, record).is_ok() {
            decoded.records += 1;
        } else {
            out.pop();
            decoded.unknown += 1;
        }
    }
    Ok(decoded)
}
