//! Configuration: what people wrote, read into what is valid by construction.
//!
//! Two steps, because their errors mean different things: [`bootstrap()`] reads keypool.toml,
//! variables and flags, without which nothing can start; [`Bootstrap::load_keys`] reads the keys
//! file, whose errors leave the daemon up and not ready. Either gives every error at once, with its
//! place and never with the text that is wrong. A reload is both steps again (`again`), and what has
//! changed is told by `diff`.

mod again;
mod bootstrap;
mod diff;
mod env_files;
mod flags;
mod keys;
mod problem;
mod provider_sections;
mod rotation;
mod settings;
mod shared;
mod sources;
mod text;
mod value;

#[cfg(any(doc, fuzzing, test))]
pub(crate) use bootstrap::of_text;
pub use bootstrap::{Bootstrap, USUAL_FILES, bootstrap};
pub use diff::SettingsDiff;
pub use flags::Flags;
pub use keys::{
    Keys, KeysSource, Members, NotEdited, NotSaved, save_over, with_changes, with_entries,
    with_entry, without_entry,
};
pub(crate) use keys::{PlainLine, plain_lines};
pub use problem::{Problem, Problems, Severity};
pub use provider_sections::BUILT_IN as BUILT_IN_PROVIDERS;
pub use rotation::Rotation;
pub use settings::{
    CooldownSettings, ProviderProbe, ProviderSettings, QuotaSettings, SecretSettings,
    ServerSettings, Settings, SharedSettings,
};
pub use text::{Position, nearest};
