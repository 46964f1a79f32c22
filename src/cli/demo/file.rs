//! The demo's configuration file: written once where the user stands, never over an existing one.

use anyhow::Context;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// What is written: a configuration that teaches.
const TEXT: &str = include_str!("../../../config/demo.yaml");
/// The addresses in it, which may be taken on this machine.
const PORTS: [u16; 4] = [8080, 9901, 9101, 9102];

/// How there came to be a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there already, and is used as it is.
    Found,
    /// It was written, with the ports of the original or with free ones.
    Written {
        /// Whether other ports than those of the original had to be taken.
        moved: bool,
    },
}

/// Makes sure that there is a file at the path.
pub(super) fn provide(path: &Path) -> anyhow::Result<Origin> {
    let unwritable = || {
        format!(
            "can not write {}: go to a folder that is writable, or use --config",
            path.display()
        )
    };
    if path.exists() {
        return Ok(Origin::Found);
    }
    let text = with_free_ports(TEXT)?;
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(unwritable)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Origin::Found),
        Err(error) => return Err(error).with_context(unwritable),
    }
    Ok(Origin::Written { moved: text != TEXT })
}

/// The text with a free port in place of each that is taken.
fn with_free_ports(text: &str) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    // All are held until the last is found, so that none is given twice.
    let mut held = Vec::with_capacity(PORTS.len());
    for port in PORTS {
        let listener = bind(port).or_else(|_| bind(0)).context("no free port on 127.0.0.1")?;
        let free = listener.local_addr()?.port();
        text = text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"));
        held.push(listener);
    }
    Ok(text)
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::{Origin, PORTS, TEXT, bind, provide, with_free_ports};

    #[test]
    fn every_port_is_in_the_text_once() {
        for port in PORTS {
            assert_eq!(TEXT.matches(&format!("127.0.0.1:{port}")).count(), 1, "{port}");
        }
        assert_eq!(TEXT.matches("127.0.0.1:").count(), PORTS.len());
    }

    #[test]
    fn a_port_that_is_taken_is_replaced() {
        // Whether it is this one or another process's that is there first does not matter.
        let _taken = bind(PORTS[0]);
        let text = with_free_ports(TEXT).unwrap();
        assert!(!text.contains("127.0.0.1:8080"));
        assert_eq!(text.lines().count(), TEXT.lines().count());
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serin-demo.yaml");
        assert!(matches!(provide(&path).unwrap(), Origin::Written { .. }));
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(provide(&path).unwrap(), Origin::Found);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let error = provide(&folder.path().join("no/such.yaml")).unwrap_err();
        assert!(format!("{error:#}").contains("--config"));
    }
}
