//! Compiled conditions: predicates combined by all, any, not and by the name of a segment.

use super::Head;
use std::fmt;
use std::sync::Arc;

/// One thing that can be asked of a request head; pure.
pub trait Predicate: fmt::Debug + Send + Sync {
    /// Whether the head is as asked.
    fn holds(&self, head: &Head<'_>) -> bool;

    /// What is asked and what the head says instead, for `explain`; never called while serving.
    fn describe(&self, head: &Head<'_>) -> String;
}

/// A compiled `when` or item of `matches`.
#[derive(Debug)]
pub enum Condition {
    /// One predicate.
    Leaf(Box<dyn Predicate>),
    /// All of them hold; always true when there is none.
    All(Vec<Condition>),
    /// At least one of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The named segment's condition holds.
    Segment {
        /// The segment's name.
        name: String,
        /// What the segment asks, shared by all who name it.
        condition: Arc<Condition>,
    },
}

impl Condition {
    /// The condition that holds for every request.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// The condition that all parts hold, without the parts that always do.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts = parts.into_iter().filter(|part| !part.is_always());
        match (parts.next(), parts.next()) {
            (None, _) => Self::always(),
            (Some(part), None) => part,
            (Some(one), Some(two)) => Self::All([one, two].into_iter().chain(parts).collect()),
        }
    }

    /// Whether it asks nothing.
    pub fn is_always(&self) -> bool {
        matches!(self, Self::All(parts) if parts.iter().all(Self::is_always))
    }

    /// Whether the request head is as asked.
    pub fn holds(&self, head: &Head<'_>) -> bool {
        match self {
            Self::Leaf(predicate) => predicate.holds(head),
            Self::All(parts) => parts.iter().all(|part| part.holds(head)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(head)),
            Self::Not(part) => !part.holds(head),
            Self::Segment { condition, .. } => condition.holds(head),
        }
    }

    /// The first predicate that fails, in words, or nothing if the condition holds.
    pub fn failure(&self, head: &Head<'_>) -> Option<String> {
        if self.holds(head) {
            return None;
        }
        Some(match self {
            Self::Leaf(predicate) => predicate.describe(head),
            Self::All(parts) => parts.iter().find_map(|part| part.failure(head))?,
            Self::Any(parts) => {
                let all: Vec<_> = parts.iter().filter_map(|part| part.failure(head)).collect();
                format!("any: {}", all.join("; "))
            }
            Self::Not(_) => "not: what it excludes holds".to_owned(),
            Self::Segment { name, condition } => {
                format!("segment {name}: {}", condition.failure(head)?)
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Condition, Head, Predicate};
    use http::{HeaderMap, Method};
    use std::net::{IpAddr, Ipv4Addr};

    /// A head for the tests of this layer.
    pub(in super::super) fn head(headers: &HeaderMap) -> Head<'_> {
        let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        Head {
            method: &Method::GET,
            host: "shop.example.com",
            path: "/cart/items",
            query: Some("x=1&y=a+b&y=c"),
            headers,
            client,
            peer: client,
            certificate_names: &[],
        }
    }

    /// Holds for the paths that start with its text.
    #[derive(Debug)]
    struct Starts(&'static str);

    impl Predicate for Starts {
        fn holds(&self, head: &Head<'_>) -> bool {
            head.path.starts_with(self.0)
        }

        fn describe(&self, _: &Head<'_>) -> String {
            format!("no {}", self.0)
        }
    }

    fn starts(text: &'static str) -> Condition {
        Condition::Leaf(Box::new(Starts(text)))
    }

    #[test]
    fn parts_that_always_hold_are_left_out() {
        assert!(Condition::all([]).is_always());
        assert!(Condition::all([Condition::always(), Condition::always()]).is_always());
        let one = Condition::all([Condition::always(), starts("/")]);
        assert!(matches!(one, Condition::Leaf(_)));
        let three = Condition::all([starts("/"), Condition::always(), starts("/"), starts("/")]);
        assert!(matches!(three, Condition::All(parts) if parts.len() == 3));
    }

    #[test]
    fn the_first_failure_is_told() {
        let headers = HeaderMap::new();
        let head = head(&headers);
        let all = Condition::all([starts("/cart"), starts("/a"), starts("/b")]);
        assert_eq!(all.failure(&head).as_deref(), Some("no /a"));
        let any = Condition::Any(vec![starts("/a"), starts("/b")]);
        assert_eq!(any.failure(&head).as_deref(), Some("any: no /a; no /b"));
        assert_eq!(starts("/").failure(&head), None);
        assert!(Condition::Not(Box::new(starts("/"))).failure(&head).is_some());
    }
}
