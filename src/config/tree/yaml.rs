//! Files to nodes: the only module that knows the YAML parser, and the one that bounds it.

use super::{
    ALIASES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, Document, FILES_MAX, File, Kind, NODES_MAX, Node,
    Step,
};
use crate::base::courtesy;
use crate::base::problem::{Location, Problems};
use crate::config::diagnostic::{Diagnostic, PROBLEMS_MAX};
use crate::config::source::RawFile;
use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Span, StructureStyle, Tag};
use std::collections::{HashMap, hash_map};

/// Reads all files; every file that can not be read has its own diagnostic.
pub(super) fn parse(raw: &[RawFile], problems: &mut Problems) -> Result<Document, Vec<Diagnostic>> {
    let name = |file: Option<&RawFile>| file.map_or_else(String::new, |file| file.name.clone());
    if raw.len() > FILES_MAX {
        let message = format!("{} files are more than the limit of {FILES_MAX}", raw.len());
        return Err(vec![Diagnostic::error(name(raw.get(FILES_MAX)), message)]);
    }
    let mut bytes = 0;
    for file in raw {
        bytes += file.bytes.len();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(vec![Diagnostic::error(file.name.clone(), too_large())]);
        }
    }
    let root = Node {
        file: 0,
        line: 1,
        column: 1,
        parent: None,
        step: Step::Top,
        kind: Kind::Mapping(Box::default()),
    };
    let mut document = Document { files: Vec::with_capacity(raw.len()), nodes: vec![root] };
    let mut failures = Vec::new();
    let mut tops = Vec::new();
    for file in raw {
        match text_of(file) {
            Ok(text) => {
                document.files.push(File { name: file.name.clone(), text: String::new() });
                match Builder::new(&mut document, problems, text).run() {
                    Ok(top) => tops.push(top),
                    Err(fault) => failures.push(fault.diagnostic(&file.name, text)),
                }
                if let Some(file) = document.files.last_mut() {
                    text.clone_into(&mut file.text);
                }
            }
            Err(diagnostic) => failures.push(*diagnostic),
        }
    }
    if raw.is_empty() {
        failures.push(Diagnostic::error(String::new(), "there is no configuration"));
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    document.merge(&tops, problems);
    Ok(document)
}

/// The message for a document above [`DOCUMENT_BYTES_MAX`].
pub(in crate::config) fn too_large() -> String {
    format!("the configuration is larger than the limit of {} MiB", DOCUMENT_BYTES_MAX >> 20)
}

fn text_of(file: &RawFile) -> Result<&str, Box<Diagnostic>> {
    match std::str::from_utf8(&file.bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = file.bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = String::from_utf8_lossy(good);
            let line = good.split('\n').count();
            let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            let diagnostic = Diagnostic::error(file.name.clone(), "the file is not UTF-8 text");
            Err(Box::new(diagnostic.at(line, column, &good)))
        }
    }
}

/// Why a file could not be read, and where.
struct Fault {
    line: usize,
    column: usize,
    message: String,
}

impl Fault {
    fn new(at: &Marker, message: impl Into<String>) -> Self {
        Self { line: at.line().max(1), column: at.col() + 1, message: message.into() }
    }

    fn diagnostic(self, file: &str, text: &str) -> Diagnostic {
        Diagnostic::error(file.to_owned(), self.message).at(self.line, self.column, text)
    }
}

/// A list or mapping that is not yet closed.
struct Open {
    node: Location,
    anchor: usize,
    /// For a mapping: the key whose value comes next.
    key: Option<Location>,
    parts: Parts,
}

enum Parts {
    Sequence(Vec<Location>),
    Mapping { entries: Vec<(Location, Location)>, keys: Keys },
}

/// The keys of a mapping that is not yet closed, for finding one that is given twice.
#[derive(Default)]
struct Keys {
    /// All of them, once there are more than are looked through one by one.
    known: HashMap<Box<str>, Location>,
}

impl Keys {
    /// Most mappings have fewer.
    const LOOKED_THROUGH_MAX: usize = 16;

    /// The key among the entries that says the same as this one, which is an entry from now on if
    /// there is none.
    fn first(
        &mut self,
        document: &Document,
        entries: &[(Location, Location)],
        key: Location,
    ) -> Option<Location> {
        let text = document.text(key);
        if entries.len() < Self::LOOKED_THROUGH_MAX {
            return entries.iter().map(|(key, _)| *key).find(|known| document.text(*known) == text);
        }
        if self.known.is_empty() {
            self.known.extend(entries.iter().map(|(key, _)| (document.text(*key).into(), *key)));
        }
        match self.known.entry(text.into()) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(key);
                None
            }
            hash_map::Entry::Occupied(first) => Some(*first.get()),
        }
    }
}

/// Turns the events of one file into nodes.
struct Builder<'a> {
    document: &'a mut Document,
    problems: &'a mut Problems,
    text: &'a str,
    file: u32,
    open: Vec<Open>,
    anchors: HashMap<usize, Location>,
    aliases: usize,
    top: Option<Location>,
}

impl<'a> Builder<'a> {
    fn new(document: &'a mut Document, problems: &'a mut Problems, text: &'a str) -> Self {
        /// Of a dense document; where there are more, moving them once is little.
        const BYTES_PER_NODE: usize = 6;
        document.nodes.reserve(text.len() / BYTES_PER_NODE);
        let file = u32::try_from(document.files.len().saturating_sub(1)).unwrap_or(u32::MAX);
        Self {
            document,
            problems,
            text,
            file,
            open: Vec::new(),
            anchors: HashMap::new(),
            aliases: 0,
            top: None,
        }
    }

    /// The top node of a file's text.
    fn run(mut self) -> Result<Location, Fault> {
        let options = granit_parser::options! { emit_comments: false };
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = event.map_err(|error| match error.kind() {
                ErrorKind::RecursionLimitExceeded => Fault::new(error.marker(), too_deep()),
                ErrorKind::UnknownAnchor => {
                    Fault::new(error.marker(), "no anchor of this name comes before its use")
                }
                _ => Fault::new(error.marker(), format!("this is not YAML: {}", error.info())),
            })?;
            self.event(event, &span)?;
            courtesy::give_way();
        }
        let empty = || Fault { line: 1, column: 1, message: "the file is empty".to_owned() };
        let top = self.top.ok_or_else(empty)?;
        let blank = matches!(self.document.node(top).map(|node| &node.kind),
            Some(Kind::Scalar { text, plain: true }) if text.is_empty());
        if blank { Err(empty()) } else { Ok(top) }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) if self.top.is_some() => {
                return Err(Fault::new(&span.start, "a file holds one YAML document, not several"));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tag.as_deref().is_some_and(is_text);
                // The parser says `~` for a value of which nothing is written.
                let written = !plain || span.start != span.end;
                let text = if written { text.into() } else { Box::default() };
                let at = self.node(span, Kind::Scalar { text, plain })?;
                self.check_tag(tag.as_deref(), at);
                self.place(at, anchor, span)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                let mut span = *span;
                if style == StructureStyle::Block {
                    span.start = self.dash(span.start);
                }
                self.start(anchor, tag.as_deref(), &span, Parts::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let parts = Parts::Mapping { entries: Vec::new(), keys: Keys::default() };
                self.start(anchor, tag.as_deref(), span, parts)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
            Event::Alias(anchor) => {
                self.aliases += 1;
                if self.aliases > ALIASES_MAX {
                    let message = format!("anchors are used more often than {ALIASES_MAX} times");
                    return Err(Fault::new(&span.start, message));
                }
                let Some(&source) = self.anchors.get(&anchor) else {
                    return Err(Fault::new(&span.start, "an anchor can not be used in itself"));
                };
                let copy = self.copy(source, self.open.len(), span)?;
                if let Some(node) = self.document.node_mut(copy) {
                    (node.file, node.line, node.column) = (self.file, line(span), column(span));
                }
                self.place(copy, 0, span)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The dash of a block list's first element: for a list that is not indented under its key,
    /// the parser gives the place of what comes after the dash.
    fn dash(&self, at: Marker) -> Marker {
        let before = at.byte_offset().and_then(|offset| self.text.split_at_checked(offset));
        let Some((before, after)) = before else { return at };
        let to_dash = before.trim_end_matches([' ', '\t']);
        let at_dash = after
            .strip_prefix('-')
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        if at_dash || !to_dash.ends_with('-') {
            return at;
        }
        let back = before.len() - to_dash.len() + 1;
        Marker::new(at.index().saturating_sub(back), at.line(), at.col().saturating_sub(back))
    }

    /// A tag without a meaning here is a problem.
    fn check_tag(&mut self, tag: Option<&Tag>, at: Location) {
        if let Some(tag) = tag
            && tag.core_suffix().is_none()
            && !is_text(tag)
        {
            self.report(at, format!("the tag `{}` has no meaning here", tag.original()));
        }
    }

    fn start(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Span,
        parts: Parts,
    ) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::new(&span.start, too_deep()));
        }
        let node = self.node(span, Kind::Sequence(Box::default()))?;
        self.check_tag(tag, node);
        self.open.push(Open { node, anchor, key: None, parts });
        Ok(())
    }

    fn end(&mut self, span: &Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.parts {
            Parts::Sequence(items) => {
                for (index, &item) in (0..).zip(&items) {
                    self.document.adopt(item, open.node, Step::Index(index));
                }
                Kind::Sequence(items.into())
            }
            Parts::Mapping { entries, .. } => {
                for &entry in &entries {
                    self.document.adopt_entry(entry, open.node);
                }
                Kind::Mapping(entries.into())
            }
        };
        if let Some(node) = self.document.node_mut(open.node) {
            node.kind = kind;
        }
        self.place(open.node, open.anchor, span)
    }

    /// Puts a finished node where it belongs: at the top, into a list, or as a key or value.
    fn place(&mut self, at: Location, anchor: usize, span: &Span) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, at);
        }
        let Some(mut open) = self.open.pop() else {
            self.top = Some(at);
            return Ok(());
        };
        match (&mut open.parts, open.key.take()) {
            (Parts::Sequence(items), _) => items.push(at),
            (Parts::Mapping { .. }, None) => {
                let scalar = self.document.node(at).map(|node| &node.kind);
                if !matches!(scalar, Some(Kind::Scalar { .. })) {
                    let place = self.document.place(at);
                    return Err(Fault {
                        line: usize::try_from(place.line).unwrap_or_else(|_| span.start.line()),
                        column: usize::try_from(place.column).unwrap_or_else(|_| span.start.col()),
                        message: "a key must be a plain value".to_owned(),
                    });
                }
                open.key = Some(at);
            }
            (Parts::Mapping { entries, keys }, Some(key)) => {
                self.beside(at, key);
                match keys.first(self.document, entries, key) {
                    None => entries.push((key, at)),
                    Some(first) => {
                        let message = self.document.twice(first, key);
                        self.document.adopt(key, open.node, Step::Key(key));
                        self.report(key, message);
                    }
                }
            }
        }
        self.open.push(open);
        Ok(())
    }

    /// A value of which nothing is written is at its key: there is no better place to show.
    fn beside(&mut self, value: Location, key: Location) {
        let Some((line, column)) = self.document.node(key).map(|key| (key.line, key.column)) else {
            return;
        };
        if let Some(node) = self.document.node_mut(value)
            && matches!(&node.kind, Kind::Scalar { text, plain: true } if text.is_empty())
        {
            (node.line, node.column) = (line, column);
        }
    }

    /// Copies an anchored node with all that it holds; the inner nodes keep their places.
    fn copy(&mut self, source: Location, depth: usize, span: &Span) -> Result<Location, Fault> {
        let Some(node) = self.document.node(source).cloned() else { return Ok(source) };
        let nested = !matches!(node.kind, Kind::Scalar { .. });
        if nested && depth >= DEPTH_MAX {
            return Err(Fault::new(&span.start, too_deep()));
        }
        self.room(span)?;
        let at = self.document.push(Node { parent: None, step: Step::Top, ..node.clone() });
        let kind = match node.kind {
            Kind::Scalar { .. } => return Ok(at),
            Kind::Sequence(items) => {
                let mut copies = Vec::with_capacity(items.len());
                for (index, item) in (0..).zip(items) {
                    let item = self.copy(item, depth + 1, span)?;
                    self.document.adopt(item, at, Step::Index(index));
                    copies.push(item);
                }
                Kind::Sequence(copies.into())
            }
            Kind::Mapping(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let entry =
                        (self.copy(key, depth + 1, span)?, self.copy(value, depth + 1, span)?);
                    self.document.adopt_entry(entry, at);
                    copies.push(entry);
                }
                Kind::Mapping(copies.into())
            }
        };
        if let Some(node) = self.document.node_mut(at) {
            node.kind = kind;
        }
        Ok(at)
    }

    fn node(&mut self, span: &Span, kind: Kind) -> Result<Location, Fault> {
        self.room(span)?;
        Ok(self.document.push(Node {
            file: self.file,
            line: line(span),
            column: column(span),
            parent: None,
            step: Step::Top,
            kind,
        }))
    }

    fn room(&self, span: &Span) -> Result<(), Fault> {
        if self.document.nodes.len() < NODES_MAX {
            return Ok(());
        }
        let message = format!("the configuration has more than {NODES_MAX} keys and values");
        Err(Fault::new(&span.start, message))
    }

    fn report(&mut self, at: Location, message: String) {
        if self.problems.len() <= PROBLEMS_MAX {
            self.problems.error(at, message);
        }
    }
}

/// Whether a tag makes a string of what it stands before: `!!str` and the non-specific `!`.
fn is_text(tag: &Tag) -> bool {
    tag.core_suffix() == Some("str") || tag.original() == "!"
}

fn too_deep() -> String {
    format!("lists and mappings are nested deeper than {DEPTH_MAX} levels")
}

fn line(span: &Span) -> u32 {
    u32::try_from(span.start.line().max(1)).unwrap_or(u32::MAX)
}

fn column(span: &Span) -> u32 {
    u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX)
}
