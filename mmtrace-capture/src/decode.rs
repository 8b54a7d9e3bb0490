//! Arrow batches to records.

use super::names::Names;
use super::schema::DictionaryKey;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use mmtrace_common::{Call, Column, FieldType, Kind, Record, spec};

/// Numbers of a batch's rows that became records and that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Rows turned into records.
    pub records: u64,
    /// Rows skipped because this build does not know their kind, or one of their names.
    pub unknown: u64,
}

/// A dictionary column, its names already turned into numbers.
struct Named<'a> {
    keys: &'a PrimitiveArray<DictionaryKey>,
    numbers: Vec<Option<u64>>,
}

enum Cells<'a> {
    Missing,
    U64(&'a PrimitiveArray<UInt64Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    Bool(&'a BooleanArray),
    Name(Named<'a>),
}

/// A name that means nothing here.
struct Unknown;

impl Named<'_> {
    fn number(&self, row: usize) -> Result<u64, Unknown> {
        let key = usize::try_from(self.keys.value(row)).map_err(|_| Unknown)?;
        self.numbers.get(key).copied().flatten().ok_or(Unknown)
    }
}

impl Cells<'_> {
    /// Returns the raw bits of a row, 0 for null.
    fn raw(&self, row: usize) -> Result<u64, Unknown> {
        Ok(match self {
            Self::U64(a) if a.is_valid(row) => a.value(row),
            // As the kernel passes an int in a word: zero-extended.
            Self::I32(a) if a.is_valid(row) => u64::from(a.value(row) as u32),
            Self::Bool(a) if a.is_valid(row) => u64::from(a.value(row)),
            Self::Name(a) if a.keys.is_valid(row) => a.number(row)?,
            _ => 0,
        })
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
    let ts = fixed::<UInt64Type>(batch, "ts")?;
    let cpu = fixed::<UInt16Type>(batch, "cpu")?;
    let pid = fixed::<UInt32Type>(batch, "pid")?;
    let tid = fixed::<UInt32Type>(batch, "tid")?;
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
        columns.push(cells.unwrap_or(Cells::Missing));
    }

    let mut decoded = Decoded::default();
    out.reserve(batch.num_rows());
    'rows: for row in 0..batch.num_rows() {
        let kind = if kinds.keys.is_valid(row) { kinds.number(row).ok() } else { None };
        let Some(kind) = kind.and_then(|number| Kind::from_u16(number as u16)) else {
            decoded.unknown += 1;
            continue;
        };
        let mut record = Record {
            ts: ts.value(row),
            mm: mm.filter(|a| a.is_valid(row)).map_or(0, |a| a.value(row)),
            tgid: pid.value(row),
            tid: tid.value(row),
            kind: kind as u16,
            cpu: cpu.value(row),
            ..Record::default()
        };
        for field in spec(kind).fields {
            match columns[field.column as usize].raw(row) {
                Ok(raw) => field.set(&mut record, raw),
                Err(Unknown) => {
                    decoded.unknown += 1;
                    continue 'rows;
                }
            }
        }
        out.push(record);
        decoded.records += 1;
    }
    Ok(decoded)
}
