//! Layouts: which views there are, what they show, in which order, and from when on a value is marked.
//!
//! A layout is a TOML file. The built-in ones are in `dashboards/`; `--dashboard` takes their
//! names, or another file.

use std::{fs::File, io::Read};

use anyhow::{Context as _, Result, anyhow, bail};
use mmtrace_common::Class;
use mmtrace_model::when::When;
use serde::Deserialize;

use super::{
    state::VIEWS_MAX,
    view::{KINDS, Tone, listing::Column, overview::PANELS},
};

/// The built-in layouts: name and text. The first is what is shown when none is named.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("default", include_str!("../../dashboards/default.toml")),
    ("contention", include_str!("../../dashboards/contention.toml")),
];

/// Views, in the order of the number keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The views.
    #[serde(rename = "view")]
    pub views: Vec<View>,
}

/// One view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// In the row of tabs.
    pub name: String,
    /// What it shows: one of [`KINDS`].
    pub shows: String,
    /// That in one line.
    pub explains: String,
    /// Its columns, in this order; all of them where none is named.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Columns that go first, in this order, when there is no room for all.
    #[serde(default)]
    pub narrow: Vec<String>,
    /// Of an overview: its panels, in this order.
    #[serde(default)]
    pub panels: Vec<String>,
    /// Of an overview: the classes of events whose rates are shown.
    #[serde(default)]
    pub rates: Vec<String>,
    /// Values that are marked.
    #[serde(default, rename = "threshold")]
    pub thresholds: Vec<Threshold>,
}

/// From when on a value is marked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// In this column.
    pub column: String,
    /// A value above this: a number, or a duration such as "10ms".
    pub above: Limit,
    /// How bad that is.
    pub means: Means,
}

/// A limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Limit {
    /// A number.
    Number(u64),
    /// A duration.
    Duration(String),
}

/// How bad it is that a limit is passed. Each has its mark: colours are not for everyone.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// Worth a look: `!`.
    Warning,
    /// Bad: `!!`.
    Bad,
}

impl Limit {
    /// In nanoseconds, or as the number that it is; `None`: it is neither.
    fn value(&self) -> Option<u64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Duration(text) => text.parse::<When>().ok().map(|when| when.after(0)),
        }
    }
}

/// Largest file that is taken for a layout, bytes; the built-in ones have 8000.
const FILE_MAX: u64 = 1 << 20;

fn read(name: &str) -> Result<String> {
    let mut text = String::new();
    let read = File::open(name)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_MAX {
        bail!("it is larger than any dashboard");
    }
    Ok(text)
}

impl Layout {
    /// A built-in layout, or that of a file.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no layout.
    pub fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(text);
        }
        let text = read(name).with_context(|| {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            format!("cannot read the dashboard {name}, which is none of those built in ({})", names.join(", "))
        })?;
        Self::parse(&text).with_context(|| format!("{name} is no dashboard"))
    }

    /// Reads a layout.
    ///
    /// # Errors
    ///
    /// It is no TOML, or names what there is not.
    pub fn parse(text: &str) -> Result<Self> {
        let layout: Self = toml::from_str(text).map_err(|e| {
            let line = 1 + text[..e.span().map_or(0, |span| span.start)].matches('\n').count();
            anyhow!("line {line}: {}", e.message())
        })?;
        if layout.views.is_empty() || layout.views.len() > VIEWS_MAX {
            bail!("it has {} views; 1 to {VIEWS_MAX} can be shown", layout.views.len());
        }
        for view in &layout.views {
            view.check().with_context(|| format!("in the view \"{}\"", view.name))?;
        }
        Ok(layout)
    }

    /// A view by number; the last one where there are fewer.
    #[must_use]
    pub fn view(&self, number: usize) -> &View {
        &self.views[number.min(self.views.len() - 1)]
    }

    /// The first view that shows this.
    #[must_use]
    pub fn showing(&self, kind: &str) -> Option<usize> {
        self.views.iter().position(|view| view.shows == kind)
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::parse(BUILT_IN[0].1).expect("a test reads the built-in layouts")
    }
}

/// A name that must be one of these.
fn known(what: &str, name: &str, names: impl Iterator<Item = &'static str>) -> Result<()> {
    let names: Vec<&str> = names.collect();
    if names.contains(&name) {
        return Ok(());
    }
    bail!("there is no {what} \"{name}\"; there is: {}", names.join(", "))
}

impl View {
    fn check(&self) -> Result<()> {
        known("kind of view", &self.shows, KINDS.iter().map(|k| k.name))?;
        let kind = KINDS.iter().find(|k| k.name == self.shows).context("it was found just now")?;
        for column in self.columns.iter().chain(&self.narrow).chain(self.thresholds.iter().map(|t| &t.column)) {
            known("column", column, kind.columns.iter().map(|c| c.name))?;
        }
        for panel in &self.panels {
            known("panel", panel, PANELS.iter().map(|p| p.name))?;
        }
        for class in &self.rates {
            known("class of events", class, Class::ALL.iter().map(|c| c.name()))?;
        }
        for threshold in &self.thresholds {
            if threshold.above.value().is_none() {
                bail!("a threshold of {}: {:?} is no number and no duration", threshold.column, threshold.above);
            }
        }
        Ok(())
    }

    /// Whether it speaks of a list with these columns.
    #[must_use]
    pub fn is_about(&self, columns: &[Column]) -> bool {
        let names = |columns: &[Column]| columns.iter().map(|c| c.name).collect::<Vec<_>>();
        KINDS.iter().any(|kind| kind.name == self.shows && names(kind.columns) == names(columns))
    }

    /// The mark and the tone of a value in a column, if it passes a limit.
    #[must_use]
    pub fn judge(&self, column: &str, value: u64) -> Option<(&'static str, Tone)> {
        let passed = |t: &&Threshold| t.column == column && t.above.value().is_some_and(|limit| value > limit);
        let worst = self.thresholds.iter().filter(passed).max_by_key(|t| t.means as u8)?;
        Some(match worst.means {
            Means::Warning => ("!", Tone::Doubt),
            Means::Bad => ("!!", Tone::Bad),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    #[test]
    fn the_built_in_layouts_are_what_dashboards_holds() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
        let mut files: Vec<String> = fs::read_dir(dir)
            .expect("it is part of the repository")
            .filter_map(|e| e.expect("listed").file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
            .collect();
        files.sort();
        let mut names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
        for (name, _) in BUILT_IN {
            Layout::load(name).expect(name);
        }
        assert_eq!(Layout::default().views.len(), 7);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let view = |more: &str| {
            let text = format!("[[view]]\nname = 'V'\nshows = 'locks'\nexplains = ''\n{more}");
            Layout::parse(&text).map_err(|e| format!("{e:#}"))
        };
        view("columns = ['pid', 'now']").expect("a layout");
        assert!(view("columns = ['pod']").is_err_and(|e| e.contains("no column \"pod\"; there is: pid, ")));
        assert!(view("panels = ['x']").is_err_and(|e| e.contains("no panel")));
        assert!(view("rates = ['x']").is_err_and(|e| e.contains("no class of events")));
        assert!(view("colour = 'red'").is_err_and(|e| e.contains("colour")));
        let threshold =
            |above: &str| view(&format!("[[view.threshold]]\ncolumn = 'longest'\nabove = {above}\nmeans = 'bad'\n"));
        assert!(threshold("'soon'").is_err());
        let layout = threshold("'10ms'").expect("a layout");
        assert_eq!(layout.view(0).judge("longest", 10_000_001), Some(("!!", Tone::Bad)));
        assert_eq!(layout.view(0).judge("longest", 10_000_000), None);
        assert!(Layout::parse("").is_err());
        assert!(Layout::load("/nowhere").is_err_and(|e| format!("{e:#}").contains("built in (default, contention)")));
    }
}
