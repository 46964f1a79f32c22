//! From predicates as written to conditions that can be asked.

use super::WhenConfig;
use super::condition::{Condition, Predicate};
use super::path::PathRule;
use super::segments::Segments;
use crate::base::problem::{Problems, Spanned};

/// An item of `matches`, with what the order of routes depends on taken out.
#[derive(Debug)]
pub struct Match {
    /// The path that is asked for; `/` as a prefix where none is.
    pub path: PathRule,
    /// Whether a method is asked for.
    pub method: bool,
    /// How many headers and cookies are asked for.
    pub headers: usize,
    /// How many parameters of the query are asked for.
    pub queries: usize,
    /// What is asked for besides the path.
    pub rest: Condition,
}

impl WhenConfig {
    /// The condition to ask; names of segments that do not exist are noted as problems.
    pub fn compile(&self, segments: &Segments, problems: &mut Problems) -> Condition {
        self.compile_in(&mut Compiler { segments, problems, facts: None })
    }

    /// The same for an item of `matches`; what counts is what stands in the item itself and in
    /// its `all`s, nested or not.
    pub fn compile_match(&self, segments: &Segments, problems: &mut Problems) -> Match {
        let mut compiler = Compiler { segments, problems, facts: Some(Facts::default()) };
        let rest = self.compile_in(&mut compiler);
        let facts = compiler.facts.unwrap_or_default();
        Match {
            path: facts.path.unwrap_or_else(|| PathRule::Prefix("/".to_owned())),
            method: facts.method,
            headers: facts.headers,
            queries: facts.queries,
            rest,
        }
    }

    pub(super) fn compile_in(&self, compiler: &mut Compiler<'_>) -> Condition {
        Condition::all(self.parts().map(|part| part.compile(compiler)))
    }

    /// Adds the segments named here.
    pub(super) fn add_references<'a>(&'a self, references: &mut Vec<&'a Spanned<String>>) {
        self.parts().for_each(|part| part.add_references(references));
    }

    /// How many combinations stand one inside the other.
    pub(super) fn nesting(&self) -> usize {
        self.parts().map(Part::nesting).max().unwrap_or_default()
    }
}

/// One entry of a mapping of predicates: a leaf or a combination.
pub(super) trait Part {
    /// The condition to ask.
    fn compile(&self, compiler: &mut Compiler<'_>) -> Condition;

    /// Adds the segments named here.
    fn add_references<'a>(&'a self, _references: &mut Vec<&'a Spanned<String>>) {}

    /// How many combinations stand one inside the other.
    fn nesting(&self) -> usize {
        0
    }
}

/// What a part may look at and note while it is compiled.
pub(super) struct Compiler<'a> {
    /// The segments that can be named.
    pub(super) segments: &'a Segments,
    /// Where problems are noted.
    pub(super) problems: &'a mut Problems,
    /// What the order of routes depends on, where it does: not below `any` and `not`.
    pub(super) facts: Option<Facts>,
}

impl Compiler<'_> {
    /// Compiles something that the order of routes does not depend on.
    pub(super) fn aside<T>(&mut self, compile: impl FnOnce(&mut Self) -> T) -> T {
        let facts = self.facts.take();
        let compiled = compile(self);
        self.facts = facts;
        compiled
    }
}

/// What the order of routes depends on.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The first path.
    pub(super) path: Option<PathRule>,
    /// Whether a method is asked for.
    pub(super) method: bool,
    /// How many headers and cookies are asked for.
    pub(super) headers: usize,
    /// How many parameters of the query are asked for.
    pub(super) queries: usize,
}

/// The condition of a leaf that is its own predicate.
pub(super) fn leaf<P: Predicate + Clone + 'static>(predicate: &P) -> Condition {
    Condition::Leaf(Box::new(predicate.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, Match, PathRule, Segments, WhenConfig};
    use crate::base::problem::Problems;

    fn compile(json: &str) -> Match {
        let when: WhenConfig = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let compiled = when.compile_match(&Segments::default(), &mut problems);
        assert!(problems.is_empty());
        compiled
    }

    #[test]
    fn a_match_without_a_path_counts_as_the_prefix_of_all() {
        let empty = compile("{}");
        assert_eq!(empty.path, PathRule::Prefix("/".to_owned()));
        assert!(empty.rest.is_always());
        assert!(!empty.method);
    }

    #[test]
    fn what_stands_in_the_item_and_its_alls_counts() {
        let found = compile(
            r#"{
                "header": {"name": "a", "exact": "1"},
                "all": [
                    {"cookie": {"name": "b", "exact": "1"}, "query": {"name": "c", "exact": "1"}},
                    {"all": [{"header": {"name": "d", "exact": "1"}, "method": "GET"}]},
                    {"all": [{"path": {"exact": "/x"}}]},
                    {"path": {"exact": "/y"}}
                ],
                "any": [{"header": {"name": "e", "exact": "1"}, "path": {"exact": "/z"}}],
                "not": {"query": {"name": "f", "exact": "1"}, "method": "PUT"}
            }"#,
        );
        assert_eq!(found.path, PathRule::Exact("/x".to_owned()));
        assert!(found.method);
        assert_eq!((found.headers, found.queries), (3, 1));
    }

    #[test]
    fn the_path_of_the_item_itself_comes_first_and_is_left_out() {
        let found = compile(r#"{"all": [{"path": {"exact": "/b"}}], "path": {"prefix": "/a"}}"#);
        assert_eq!(found.path, PathRule::Prefix("/a".to_owned()));
        assert!(matches!(found.rest, Condition::Leaf(_)), "{:?}", found.rest);
        assert!(compile(r#"{"path": {"prefix": "/a"}}"#).rest.is_always());
        let negated = compile(r#"{"not": {"path": {"prefix": "/a"}}}"#);
        assert_eq!(negated.path, PathRule::Prefix("/".to_owned()));
    }
}
