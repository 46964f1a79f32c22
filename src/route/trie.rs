//! A trie whose edges are whole strings: path elements, or the labels of a host from the right.

use super::hash::StringMap;
use std::iter::successors;

/// Values at sequences of strings; one walk finds those at every beginning of a sequence.
///
/// A walk goes down once, hashing each element once, and comes back over the parents, so it costs
/// time linear in the sequence, needs no stack and allocates nothing.
#[derive(Debug)]
pub(super) struct Trie<V> {
    /// The root is the first; none as long as the trie is empty.
    nodes: Vec<Node<V>>,
}

#[derive(Debug)]
struct Node<V> {
    value: Option<V>,
    parent: Option<usize>,
    children: StringMap<usize>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<V> Trie<V> {
    /// The values at the beginnings of a sequence, the longest beginning first.
    pub(super) fn beginnings<'t, 's>(
        &'t self,
        mut sequence: impl Iterator<Item = &'s str>,
    ) -> impl Iterator<Item = &'t V> {
        let mut deepest = self.nodes.first();
        // Where nothing is below, the sequence need not be taken apart any further.
        while let Some(node) = deepest.filter(|node| !node.children.is_empty()) {
            let child = sequence.next().and_then(|element| node.children.get(element));
            let Some(child) = child.and_then(|child| self.nodes.get(*child)) else { break };
            deepest = Some(child);
        }
        successors(deepest, |node| self.nodes.get(node.parent?))
            .filter_map(|node| node.value.as_ref())
    }
}

impl<V: Default> Trie<V> {
    /// The value at a sequence, made if there is none yet.
    #[expect(clippy::indexing_slicing, reason = "every number in the trie is that of a node")]
    pub(super) fn value_mut<'s>(&mut self, sequence: impl Iterator<Item = &'s str>) -> &mut V {
        if self.nodes.is_empty() {
            self.nodes = Vec::with_capacity(1);
            self.add(None);
        }
        let mut place = 0;
        for element in sequence {
            let known = self.nodes[place].children.get(element).copied();
            place = known.unwrap_or_else(|| {
                let child = self.add(Some(place));
                self.nodes[place].children.insert(element.into(), child);
                child
            });
        }
        self.nodes[place].value.get_or_insert_default()
    }

    fn add(&mut self, parent: Option<usize>) -> usize {
        self.nodes.push(Node { value: None, parent, children: StringMap::default() });
        self.nodes.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;

    fn found(trie: &Trie<u32>, sequence: &str) -> Vec<u32> {
        trie.beginnings(sequence.split('/')).copied().collect()
    }

    #[test]
    fn beginnings_are_found_longest_first() {
        let mut trie = Trie::default();
        assert!(found(&trie, "a/b").is_empty());
        *trie.value_mut("a/b/c".split('/')) = 3;
        *trie.value_mut("a".split('/')) = 1;
        *trie.value_mut(std::iter::empty()) = 10;
        assert_eq!(found(&trie, "a/b/c/d"), [3, 1, 10]);
        assert_eq!(found(&trie, "a/b"), [1, 10]);
        assert_eq!(found(&trie, "ab"), [10]);
    }

    #[test]
    fn a_value_is_made_once() {
        let mut trie = Trie::default();
        *trie.value_mut("a/b".split('/')) += 2;
        *trie.value_mut("a/b".split('/')) += 2;
        assert_eq!(found(&trie, "a/b"), [4]);
    }

    #[test]
    fn a_very_deep_sequence_needs_no_stack() {
        let deep = "a/".repeat(200_000);
        let mut trie = Trie::default();
        *trie.value_mut(deep.split('/')) = 1;
        assert_eq!(found(&trie, &deep), [1]);
    }
}
