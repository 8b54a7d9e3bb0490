//! The files of a capture, by their names.

/// The manifest.
pub const MANIFEST: &str = "manifest.json";
/// The name under which a manifest is written before it replaces the old one.
pub(super) const NEW_MANIFEST: &str = "manifest.json.tmp";

const PARQUET: &str = ".parquet";
const PART: &str = ".parquet.part";
const ARROWS: &str = ".arrows";

/// A file of a capture. A file without a variant here is no part of a capture: it keeps
/// [`make_room`](super::make_room::make_room) from moving the folder, and no reader looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureFile {
    /// [`MANIFEST`].
    Manifest,
    /// [`NEW_MANIFEST`].
    NewManifest,
    /// A segment with this number.
    Segment(u64, Form),
    /// A table of names.
    Table(TableFile),
    /// A table of names before it is whole.
    TablePart(TableFile),
}

/// A table of names beside the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFile {
    /// Tasks.
    Tasks,
    /// Mappings.
    Mappings,
    /// Functions.
    Functions,
}

impl TableFile {
    pub(super) const ALL: [Self; 3] = [Self::Tasks, Self::Mappings, Self::Functions];

    /// Returns its name once it is whole.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks.parquet",
            Self::Mappings => "mappings.parquet",
            Self::Functions => "functions.parquet",
        }
    }

    /// Returns its name until then.
    pub(super) const fn part(self) -> &'static str {
        match self {
            Self::Tasks => "tasks.parquet.part",
            Self::Mappings => "mappings.parquet.part",
            Self::Functions => "functions.parquet.part",
        }
    }
}

/// The form of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Sealed.
    Parquet,
    /// On its way to being sealed.
    Part,
    /// The open segment's stream.
    Arrows,
}

impl CaptureFile {
    /// Returns the file of this name; `None` for one that is no part of a capture.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            MANIFEST => Some(Self::Manifest),
            NEW_MANIFEST => Some(Self::NewManifest),
            _ => Self::parse_table(name)
                .or_else(|| parse_segment(name).map(|(number, form)| Self::Segment(number, form))),
        }
    }

    fn parse_table(name: &str) -> Option<Self> {
        let table = |table: &TableFile| match name {
            _ if name == table.name() => Some(Self::Table(*table)),
            _ if name == table.part() => Some(Self::TablePart(*table)),
            _ => None,
        };
        TableFile::ALL.iter().find_map(table)
    }
}

/// Returns the name of a segment's file.
pub(super) fn segment_name(number: u64, form: Form) -> String {
    let suffix = match form {
        Form::Parquet => PARQUET,
        Form::Part => PART,
        Form::Arrows => ARROWS,
    };
    format!("segment-{number:06}{suffix}")
}

/// Parses what [`segment_name`] returns; `None` for other files.
pub(super) fn parse_segment(name: &str) -> Option<(u64, Form)> {
    let rest = name.strip_prefix("segment-")?;
    let (digits, suffix) = rest.split_at_checked(rest.find('.')?)?;
    let form = match suffix {
        PARQUET => Form::Parquet,
        PART => Form::Part,
        ARROWS => Form::Arrows,
        _ => return None,
    };
    let number = digits.parse().ok()?;
    // One name per segment: no "segment-1.parquet" beside "segment-000001.parquet".
    (segment_name(number, form) == name).then_some((number, form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_and_a_name_means_one_file() {
        for form in [Form::Parquet, Form::Part, Form::Arrows] {
            for number in [0, 1, 999_999, 1_000_000, u64::MAX] {
                let name = segment_name(number, form);
                assert_eq!(CaptureFile::parse(&name), Some(CaptureFile::Segment(number, form)), "{name}");
            }
        }
        assert_eq!(CaptureFile::parse("manifest.json"), Some(CaptureFile::Manifest));
        for table in TableFile::ALL {
            assert_eq!(CaptureFile::parse(table.name()), Some(CaptureFile::Table(table)));
            assert_eq!(CaptureFile::parse(table.part()), Some(CaptureFile::TablePart(table)));
        }
        for name in ["segment-1.parquet", "segment-0000001.parquet", "segment-000001.csv", "segment-", "notes.txt", ""]
        {
            assert_eq!(CaptureFile::parse(name), None, "{name}");
        }
    }
}
