//! The tree: positions, paths, merging, limits, and any input at all.

use super::{ALIASES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, Document, Location, NODES_MAX, Shape};
use crate::base::problem::Problems;
use crate::config::diagnostic::Diagnostic;
use crate::config::source::RawFile;
use proptest::prelude::*;
use std::fmt::Write;
use std::time::{Duration, Instant};

fn raw(name: &str, text: impl Into<Vec<u8>>) -> RawFile {
    RawFile { name: name.to_owned(), bytes: text.into() }
}

fn parse(files: &[RawFile]) -> Result<(Document, Vec<String>), Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let document = Document::parse(files, &mut problems)?;
    let said = document.diagnose(problems).iter().map(ToString::to_string).collect();
    Ok((document, said))
}

fn good(text: &str) -> Document {
    let (document, said) = parse(&[raw("a.yaml", text)]).unwrap();
    assert!(said.is_empty(), "{said:?}");
    document
}

/// The one message about a document that can not be read; in bounded time, in which other threads
/// do not count.
fn failure(text: impl Into<Vec<u8>>) -> String {
    let files = [raw("a.yaml", text)];
    let begin = Instant::now();
    let before = processor_time();
    let failures = parse(&files).unwrap_err();
    let took = before.zip(processor_time()).map(|(before, after)| after.saturating_sub(before));
    let took = took.unwrap_or_else(|| begin.elapsed());
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(failures.len(), 1);
    failures[0].to_string()
}

/// What this thread has had of the processor, in nanoseconds before the first blank; not every
/// kernel tells.
fn processor_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Every value below a node: path, line, column.
fn places(document: &Document, at: Location, all: &mut Vec<(String, u32, u32)>) {
    let place = document.place(at);
    all.push((document.path(at), place.line, place.column));
    match document.shape(at) {
        Shape::Scalar(_) => {}
        Shape::Sequence(items) => items.iter().for_each(|item| places(document, *item, all)),
        Shape::Mapping(entries) => {
            for entry in entries {
                places(document, entry.1, all);
            }
        }
    }
}

#[test]
fn positions_and_paths_are_those_of_the_text() {
    let text = "# a comment\n\
        routes:\n\
        - name: one\n  \
          split:\n    \
            - to: { stable: 9, canary: 1 }\n    \
            - [a, 'b c']\n  \
          none:\n\
        hostnames: {\"a b\": &x é, 1: *x,\n  z: |\n    text\n}\n";
    let text = text.replace("z: |\n    text\n", "z: last\n");
    let document = good(&text);
    let mut all = Vec::new();
    places(&document, document.root(), &mut all);
    let all: Vec<_> =
        all.iter().map(|(path, line, column)| (path.as_str(), *line, *column)).collect();
    assert_eq!(
        all,
        [
            ("", 2, 1),
            ("routes", 3, 1),
            ("routes[0]", 3, 3),
            ("routes[0].name", 3, 9),
            ("routes[0].split", 5, 5),
            ("routes[0].split[0]", 5, 7),
            ("routes[0].split[0].to", 5, 11),
            ("routes[0].split[0].to.stable", 5, 21),
            ("routes[0].split[0].to.canary", 5, 32),
            ("routes[0].split[1]", 6, 7),
            ("routes[0].split[1][0]", 6, 8),
            ("routes[0].split[1][1]", 6, 11),
            ("routes[0].none", 7, 3),
            ("hostnames", 8, 12),
            ("hostnames[\"a b\"]", 8, 23),
            ("hostnames[\"1\"]", 8, 29),
            ("hostnames.z", 9, 6),
        ]
    );
}

#[test]
fn line_ends_tabs_and_byte_order_marks_are_fine() {
    for text in ["\u{feff}a: 1\r\nb:\t2\r\n", "a: 1\rb: 2", "---\na: 1\nb: 2 # x\n...\n"] {
        let document = good(text);
        let b = document.field(document.root(), "b").unwrap();
        assert_eq!(document.text(b), "2");
        let line = if text.starts_with("---") { 3 } else { 2 };
        assert_eq!((document.place(b).line, document.place(b).column), (line, 4), "{text:?}");
    }
    let document = good("\u{feff}a: 1");
    let a = document.root_entries().next().unwrap();
    assert_eq!((a.name, document.place(a.key).column), ("a", 1));
}

#[test]
fn keys_given_twice_and_tags_are_problems_with_places() {
    let text = "a: 1\nb: {c: 1, c: 2}\na: 3\nt: !foo x\ns: !!str 1\n<<: {a: 1}\n";
    let (document, said) = parse(&[raw("x.yaml", text)]).unwrap();
    assert_eq!(
        said,
        [
            "x.yaml:2:11: error: b.c: `c` is given twice: first written at x.yaml:2:5",
            "x.yaml:3:1: error: a: `a` is given twice: first written at x.yaml:1:1",
            "x.yaml:4:9: error: t: the tag `!foo` has no meaning here",
        ]
    );
    let s = document.field(document.root(), "s").unwrap();
    assert!(matches!(document.shape(s), Shape::Scalar(super::Value::String("1"))));
    assert!(document.field(document.root(), "<<").is_some());
    assert_eq!(document.text(document.field(document.root(), "a").unwrap()), "1");
}

#[test]
fn the_files_of_a_folder_are_one_document() {
    let files = [
        raw("d/1.yaml", "routes: [a, b]\nadmin: {address: x}\n"),
        raw("d/2.yaml", "pools: [p]\nroutes:\n  - c\nadmin: {}\n"),
        raw("d/3.yaml", "routes:\n  - d: 1\nadmin:\n"),
        raw("d/4.yaml", "- 1\n"),
    ];
    let (document, said) = parse(&files).unwrap();
    assert_eq!(
        said,
        [
            "d/2.yaml:4:1: error: admin: `admin` is given twice: first written at d/1.yaml:2:1",
            "d/3.yaml:3:1: error: admin: `admin` is given twice: first written at d/1.yaml:2:1",
            "d/4.yaml:1:1: error: expected a mapping at the top of the file",
        ]
    );
    let names: Vec<_> = document.root_entries().map(|entry| entry.name).collect();
    assert_eq!(names, ["routes", "admin", "pools"]);
    let routes = document.field(document.root(), "routes").unwrap();
    let last = document.field(document.items(routes).unwrap()[3], "d").unwrap();
    assert_eq!(document.path(last), "routes[3].d");
    let place = document.place(last);
    assert_eq!((place.file, place.line, place.column), ("d/3.yaml", 2, 8));
}

#[test]
fn every_broken_file_is_reported() {
    let files = [
        raw("1.yaml", "a: [1, 2\nb: 3\n"),
        raw("2.yaml", "# nothing\n"),
        raw("3.yaml", b"a: 1\nb\xff: 2\n".to_vec()),
        raw("4.yaml", "a: 1\n---\nb: 2\n"),
        raw("5.yaml", "a: *nowhere\n"),
        raw("6.yaml", "[a, b]: 1\n"),
        raw("7.yaml", "a: &x [*x]\n"),
        raw("8.yaml", "ok: 1\n"),
    ];
    let said: Vec<_> = parse(&files).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("1.yaml:2:") && said[0].contains("not YAML"), "{said:?}");
    assert_eq!(
        said[1..],
        [
            "2.yaml:1:1: error: the file is empty",
            "3.yaml:2:2: error: the file is not UTF-8 text",
            "4.yaml:2:1: error: a file holds one YAML document, not several",
            "5.yaml:1:4: error: no anchor of this name comes before its use",
            "6.yaml:1:1: error: a key must be a plain value",
            "7.yaml:1:8: error: an anchor can not be used in itself",
        ]
    );
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let deep = format!("nested deeper than {DEPTH_MAX} levels");
    assert!(failure("[".repeat(10_000)).contains(&deep));
    assert!(failure("{a: ".repeat(10_000)).contains(&deep));
    assert!(failure("- ".repeat(10_000)).contains(&deep));
    assert!(
        failure((0..10_000).fold(String::new(), |mut text, depth| {
            let _ = writeln!(text, "{}a:", " ".repeat(depth.min(300)));
            text
        }))
        .contains("nested deeper")
    );
    assert!(failure(vec![b' '; 17 << 20]).contains("larger than the limit of 16 MiB"));
    let many = format!("more than {NODES_MAX} keys and values");
    assert!(failure(format!("a: [{}]", "1,".repeat(NODES_MAX + 1))).contains(&many));
    assert!(failure(vec![0; 100_000]).contains("not YAML"));
    assert!(failure(vec![0xff; 100_000]).contains("not UTF-8"));
    assert!(failure(format!("a: \"{}", "x".repeat(DOCUMENT_BYTES_MAX - 10))).contains("not YAML"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..7 {
        let uses = format!("*a{},", level - 1).repeat(9);
        let _ = writeln!(bomb, "a{level}: &a{level} [{uses}]");
    }
    assert!(failure(bomb.clone() + "z: [*a6,*a6,*a6,*a6]").contains(&many));
    let uses = "*a,".repeat(ALIASES_MAX + 1);
    assert!(failure(format!("a: &a 1\nb: [{uses}]")).contains("anchors are used more often"));
    let chain = (1..40).fold("a0: &a0 [x]\n".to_owned(), |mut text, level| {
        let _ = writeln!(text, "a{level}: &a{level} [*a{}]", level - 1);
        text
    });
    assert!(failure(chain).contains(&deep));
}

#[test]
fn ten_thousand_routes_load() {
    let mut text = "routes:\n".to_owned();
    for number in 0..10_000 {
        let _ = write!(
            text,
            "  - name: route-{number}\n    # why it is there\n    hostnames: [h{number}.example.com]\n    \
             matches:\n      - path: {{ prefix: /a/{number} }}\n    \
             split:\n      - to: {{ stable: 95, canary: 5 }}\n    fallback: stable\n"
        );
    }
    let document = good(&text);
    let routes = document.field(document.root(), "routes").unwrap();
    assert_eq!(document.items(routes).unwrap().len(), 10_000);
    assert_eq!(document.place(document.items(routes).unwrap()[9_999]).line, 8 * 9_999 + 2);
}

#[test]
fn many_comments_in_a_row_are_fine() {
    good(&format!("a:\n{}  - 1\n{}", "  # x\n".repeat(5_000), "# y\n".repeat(5_000)));
}

fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("a: "),
        Just("- "),
        Just("\n"),
        Just("\n  "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just(": "),
        Just("? "),
        Just("&x "),
        Just("*x"),
        Just("!t "),
        Just("!!str "),
        Just("\""),
        Just("'"),
        Just("|\n"),
        Just(">-\n"),
        Just("---\n"),
        Just("...\n"),
        Just("# c\n"),
        Just("%TAG ! x\n"),
        Just("\t"),
        Just("\r\n"),
        Just("~"),
        Just("1e9"),
        Just("<<: "),
        Just("é"),
        Just("\u{feff}"),
        Just("\u{2028}"),
        Just("\\x"),
        Just("b"),
        Just("\n    "),
        Just("\0"),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_makes_it_panic(one in fragments(), two in fragments()) {
        let files = [raw("1.yaml", one), raw("2.yaml", two)];
        for files in [&files[..1], &files[..]] {
            if let Ok((document, _)) = parse(files) {
                places(&document, document.root(), &mut Vec::new());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&[raw("1.yaml", bytes)]);
    }
}
