//! What the control socket is asked, as JSON.

use serde::{Deserialize, Serialize};

/// One line of the control socket.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    Get(Subject),
    Apply(Configuration),
}

/// What the gateway shall run as.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The text of a configuration file.
    pub config: String,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What can be asked for.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Stats,
    Placement,
}

impl Request {
    /// From a line; the error says why it is none.
    pub fn parse(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| format!("not a request: {error}"))
    }

    /// As a line, without its end.
    pub fn to_line(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
