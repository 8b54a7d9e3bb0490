//! Files that hold a layout: the built-in ones, and those that `--dashboard` names.

use std::{fs::File, io::Read};

use anyhow::{Context as _, Result, anyhow, bail};
use mmtrace_common::Class;

use super::{
    layout::{Layout, VIEWS_MAX, View},
    view::{KINDS, overview::PANELS},
};

/// The built-in layouts: name and text. The first is what is shown when none is named.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("default", include_str!("../../dashboards/default.toml")),
    ("contention", include_str!("../../dashboards/contention.toml")),
];

/// Largest file that is taken for a layout, bytes; the built-in ones have 8000.
const FILE_MAX: u64 = 1 << 20;

fn read(name: &str) -> Result<String> {
    let mut text = String::new();
    let read = File::open(name)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_MAX {
        bail!("the file is larger than 1 MiB, so it is not a layout");
    }
    Ok(text)
}

impl Layout {
    /// A built-in layout, or that of a file.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no layout.
    pub(crate) fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(text);
        }
        let text = read(name).with_context(|| {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            format!("cannot read the layout {name}, which is not built in either (built in: {})", names.join(", "))
        })?;
        Self::parse(&text).with_context(|| format!("{name} is not a layout of the dashboard"))
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
            bail!("the layout has {} views, and the dashboard shows 1 to {VIEWS_MAX}", layout.views.len());
        }
        for view in &layout.views {
            view.check().with_context(|| format!("in the view \"{}\"", view.name))?;
        }
        Ok(layout)
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
    bail!("there is no {what} \"{name}\"; choose from: {}", names.join(", "))
}

impl View {
    /// Refuses a name that no view, column, panel or class of events has.
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
                bail!(
                    "a threshold of the column {} is {:?}, which is neither a number nor a duration such as \"10ms\"",
                    threshold.column,
                    threshold.above
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tone::Tone;
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
        let text = BUILT_IN.iter().find(|(name, _)| *name == crate::record::DASHBOARD).expect("the default layout").1;
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        for kind in &KINDS {
            let shown = Layout::default().views.iter().any(|view| view.shows == kind.name);
            assert!(shown, "the default layout has no [[view]] that shows {}", kind.name);
            assert!(head.contains(kind.name), "the head of the default layout does not name the view {}", kind.name);
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let view = |more: &str| {
            let text = format!("[[view]]\nname = 'V'\nshows = 'locks'\nexplains = ''\n{more}");
            Layout::parse(&text).map_err(|e| format!("{e:#}"))
        };
        view("columns = ['pid', 'now']").expect("a layout");
        assert!(view("columns = ['pod']").is_err_and(|e| e.contains("no column \"pod\"; choose from: pid, ")));
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
        assert!(Layout::load("/nowhere").is_err_and(|e| format!("{e:#}").contains("(built in: default, contention)")));
    }
}
