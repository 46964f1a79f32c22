//! The document as a tree of positioned nodes: all that is known about what somebody wrote.

mod merge;
mod path;
mod scalar;
mod yaml;

pub(super) use yaml::too_large;

pub use scalar::Value;

use super::diagnostic::Diagnostic;
use super::source::RawFile;
use crate::base::problem::{Location, Problems};

/// The most bytes that all files of a document may have together.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// The most nodes (keys, values, lists, mappings) of a document, expanded aliases included.
pub const NODES_MAX: usize = 2_000_000;
/// The most levels of lists and mappings inside each other.
pub const DEPTH_MAX: usize = 32;
/// The most uses of an anchor in a file.
pub const ALIASES_MAX: usize = 64;
/// The most files of a document.
pub const FILES_MAX: usize = 256;

/// One file of a document: its name as the user knows it, and what is written in it.
#[derive(Debug)]
pub struct File {
    /// The path as given by the user, for messages.
    pub name: String,
    /// The text, without a byte order mark.
    pub text: String,
}

/// A whole configuration document, read from one or several files.
#[derive(Debug)]
pub struct Document {
    files: Vec<File>,
    nodes: Vec<Node>,
}

/// Where a node was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'d> {
    /// The file's name.
    pub file: &'d str,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// What a node is, for reading it.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'d> {
    /// One value without parts.
    Scalar(Value<'d>),
    /// A list of nodes.
    Sequence(&'d [Location]),
    /// Pairs of a key's node and a value's node.
    Mapping(&'d [(Location, Location)]),
}

/// One entry of a mapping.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'d> {
    /// The key's text.
    pub name: &'d str,
    /// The key's node.
    pub key: Location,
    /// The value's node.
    pub value: Location,
}

/// One node with its position and its way up.
#[derive(Debug, Clone)]
struct Node {
    file: u32,
    line: u32,
    column: u32,
    parent: Option<Location>,
    step: Step,
    kind: Kind,
}

/// How a parent reaches a node.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The node has no parent.
    Top,
    /// Under this key's node; a key's own step names itself.
    Key(Location),
    /// At this index.
    Index(u32),
}

#[derive(Debug, Clone)]
enum Kind {
    Scalar { text: Box<str>, plain: bool },
    Sequence(Box<[Location]>),
    Mapping(Box<[(Location, Location)]>),
}

impl Document {
    /// Reads files into one document; mistakes at a node, such as a key given twice, go to
    /// `problems`, and what can not be read at all is the error.
    pub fn parse(files: &[RawFile], problems: &mut Problems) -> Result<Self, Vec<Diagnostic>> {
        yaml::parse(files, problems)
    }

    /// The node of the whole document.
    pub fn root(&self) -> Location {
        Location(0)
    }

    /// The top-level entries, in the order written.
    pub fn root_entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries(self.root())
    }

    /// The entries of a mapping; none for any other node.
    pub fn entries(&self, at: Location) -> impl Iterator<Item = Entry<'_>> {
        let entries = match self.shape(at) {
            Shape::Mapping(entries) => entries,
            Shape::Scalar(_) | Shape::Sequence(_) => &[],
        };
        entries.iter().map(|&(key, value)| Entry { name: self.text(key), key, value })
    }

    /// The value's node of a mapping's entry.
    pub fn field(&self, at: Location, name: &str) -> Option<Location> {
        self.entries(at).find(|entry| entry.name == name).map(|entry| entry.value)
    }

    /// The nodes of a list, or nothing for any other node.
    pub fn items(&self, at: Location) -> Option<&[Location]> {
        match self.shape(at) {
            Shape::Sequence(items) => Some(items),
            Shape::Scalar(_) | Shape::Mapping(_) => None,
        }
    }

    /// What a node is; a location of no node is an empty value.
    pub fn shape(&self, at: Location) -> Shape<'_> {
        match self.node(at).map(|node| &node.kind) {
            Some(Kind::Scalar { text, plain }) => Shape::Scalar(Value::new(text, *plain)),
            Some(Kind::Sequence(items)) => Shape::Sequence(items),
            Some(Kind::Mapping(entries)) => Shape::Mapping(entries),
            None => Shape::Scalar(Value::new("", true)),
        }
    }

    /// The text of a value without parts, as written; empty for any other node.
    pub fn text(&self, at: Location) -> &str {
        match self.node(at).map(|node| &node.kind) {
            Some(Kind::Scalar { text, .. }) => text,
            Some(Kind::Sequence(_) | Kind::Mapping(_)) | None => "",
        }
    }

    /// Where a node was written.
    pub fn place(&self, at: Location) -> Place<'_> {
        let (file, line, column) =
            self.node(at).map_or((0, 1, 1), |node| (node.file, node.line, node.column));
        Place { file: self.file(file).map_or("", |file| &file.name), line, column }
    }

    /// The node that holds this one.
    pub fn parent(&self, at: Location) -> Option<Location> {
        self.node(at)?.parent
    }

    /// The files, in the order read.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The number of the file in which a node was written, for sorting.
    pub(super) fn file_index(&self, at: Location) -> u32 {
        self.node(at).map_or(0, |node| node.file)
    }

    fn file(&self, index: u32) -> Option<&File> {
        self.files.get(usize::try_from(index).ok()?)
    }

    fn node(&self, at: Location) -> Option<&Node> {
        self.nodes.get(usize::try_from(at.0).ok()?)
    }

    fn node_mut(&mut self, at: Location) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(at.0).ok()?)
    }

    /// Adds a node; the number of nodes is bounded by the caller.
    fn push(&mut self, node: Node) -> Location {
        let at = Location(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node);
        at
    }

    /// Tells a node who holds it.
    fn adopt(&mut self, at: Location, parent: Location, step: Step) {
        if let Some(node) = self.node_mut(at) {
            node.parent = Some(parent);
            node.step = step;
        }
    }

    /// Tells both nodes of an entry who holds them.
    fn adopt_entry(&mut self, (key, value): (Location, Location), parent: Location) {
        self.adopt(key, parent, Step::Key(key));
        self.adopt(value, parent, Step::Key(key));
    }
}

#[cfg(test)]
mod tests;
