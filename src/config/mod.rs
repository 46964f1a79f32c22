//! The configuration: where it comes from, how it is read, and what is said about its mistakes.

pub mod background;
pub mod certificates;
pub mod check;
pub mod compile;
pub mod diagnostic;
pub mod read;
pub mod reload;
pub mod root;
pub mod source;
pub mod tree;

pub use diagnostic::{Diagnostic, render_json, render_text};
pub use read::{Read, read};
pub use root::Config;
pub use source::{FileSource, Place, RawFile, fingerprint};
pub use tree::Document;
