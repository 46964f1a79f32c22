//! What the demo prints: each thing to try as a command that works as pasted.

use super::file::Origin;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The arm whose weights are to be changed.
const ARM: &str = "everyone";

/// What the commands are made of.
#[derive(Debug)]
pub(super) struct Guide<'a> {
    pub(super) origin: Origin,
    pub(super) file: &'a Path,
    /// The text of the file.
    pub(super) text: &'a str,
    /// The pool and address of each upstream.
    pub(super) upstreams: &'a [(String, SocketAddr)],
    pub(super) proxy: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
}

impl Guide<'_> {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut text = self.opening();
        let url = url(self.proxy);
        let file = quoted(&self.file.to_string_lossy());
        let mut try_this = |title: &str, command: &str| {
            let _ = write!(text, "\n# {title}\n{command}\n");
        };
        try_this(
            "Nobody in particular: drawn by weight, about 90 of 100 to stable",
            &format!("for i in $(seq 100); do curl -s {url}; done | sort | uniq -c"),
        );
        try_this(
            "A user stays, by the header x-user-id or the cookie uid: u-1 sees the canary, u-2 does not",
            &format!(
                "for i in $(seq 5); do curl -s -H 'x-user-id: u-1' {url}; curl -s -b uid=u-2 {url}; done"
            ),
        );
        try_this(
            "Which of 100 users see the canary",
            &format!(
                "for i in $(seq 100); do curl -s -H \"x-user-id: u-$i\" {url}; done | grep canary"
            ),
        );
        try_this(
            "The new app, by its version: half of its users",
            &format!(
                "for i in $(seq 100); do curl -s -H 'x-app-version: 2.5.0' {url}; done | sort | uniq -c"
            ),
        );
        try_this("A tester always gets the canary", &format!("curl -s -b beta=1 {url}"));
        try_this(
            "Who is trusted may name the pool",
            &format!("curl -s -H 'x-serin-pool: canary' {url}"),
        );
        try_this(
            "Slow (at most 60s), wrong, broken off: see how the proxy answers",
            &format!(
                "curl -s '{url}?delay=500ms'\ncurl -s -i '{url}?status=503'\ncurl -s -i '{url}?fail=1'"
            ),
        );
        self.change(&mut text, &file);
        self.look(&mut text, &file, &url);
        text.push_str(
            "\nCtrl-C ends the demo. Changes that are taken in or refused are told below.\n\n",
        );
        text
    }

    fn opening(&self) -> String {
        let file = self.file.display();
        let mut text = match self.origin {
            Origin::Written { moved: false } => {
                format!("{file} was written: edit it while this runs.\n")
            }
            Origin::Written { moved: true } => format!(
                "{file} was written, with free ports where the usual ones are taken: edit it while this runs.\n"
            ),
            Origin::Found => format!(
                "{file} was here already and is used as it is; what is suggested below was written for the\n\
                 demo's own file. Delete it to have that one written anew.\n"
            ),
        };
        let _ = writeln!(text, "\n  proxy      {}", url(self.proxy));
        for (pool, address) in self.upstreams {
            let _ = writeln!(text, "  upstream   {pool} at {address}, inside this process");
        }
        if let Some(admin) = self.admin {
            let _ = writeln!(text, "  dashboard  {}", url(admin));
        }
        text.push_str("\nTry these in another terminal, in this folder:\n");
        text
    }

    /// The change of the weights, for a file that has them where they were.
    fn change(&self, text: &mut String, file: &str) {
        if weights_are_found(self.text) {
            let _ = write!(
                text,
                "\n# The canary to 50 of 100. Then ask again which users see it: more do, and all who did still do\n\
                 sed -i.bak '/name: {ARM}/,/to:/ s/stable: [0-9]*, canary: [0-9]*/stable: 50, canary: 50/' {file}\n"
            );
        } else {
            let _ = write!(
                text,
                "\n# Change a weight in {file} and save it: the next request is decided by it\n"
            );
        }
        let _ = write!(
            text,
            "\n# A mistake changes nothing: the terminal of the demo says what is wrong, and where\n\
             echo 'oops: 1' >> {file}\n\
             \n# Then take it back\n\
             sed -i.bak '/^oops: 1$/d' {file}\n"
        );
    }

    fn look(&self, text: &mut String, file: &str, url: &str) {
        let program = std::env::current_exe()
            .map_or_else(|_| "serin".to_owned(), |path| quoted(&path.to_string_lossy()));
        let _ = write!(
            text,
            "\n# The decision and why, without a request\n\
             {program} explain -c {file} -H 'x-user-id: u-1' {url}\n"
        );
        if let Some(admin) = self.admin {
            let _ = write!(
                text,
                "\n# What was decided, and why, since the start\n\
                 curl -s {}metrics | grep serin_decisions_total\n",
                self::url(admin)
            );
        }
    }
}

/// The URL at which a listener is reached from this machine.
fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}/")
}

/// Whether the suggested command finds the weights: in the arm's `to`, on one line.
fn weights_are_found(text: &str) -> bool {
    let from = text.find(&format!("name: {ARM}")).and_then(|at| text.get(at..));
    let line = from.and_then(|from| from.lines().skip(1).find(|line| line.contains("to:")));
    line.is_some_and(|line| line.contains("stable: ") && line.contains(", canary: "))
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./+,=:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, url, weights_are_found};

    #[test]
    fn words_are_quoted_for_the_shell_when_they_need_it() {
        assert_eq!(quoted("serin-demo.yaml"), "serin-demo.yaml");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn an_unspecified_address_is_reached_at_loopback() {
        assert_eq!(url("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80/");
        assert_eq!(url("[::]:80".parse().unwrap()), "http://[::1]:80/");
        assert_eq!(url("10.0.0.1:80".parse().unwrap()), "http://10.0.0.1:80/");
    }

    #[test]
    fn the_change_is_suggested_where_it_works() {
        assert!(weights_are_found(include_str!("../../../config/demo.yaml")));
        assert!(!weights_are_found("- name: everyone\n  to: stable\n"));
        assert!(!weights_are_found("- to: { stable: 1, canary: 1 }\n"));
    }
}
