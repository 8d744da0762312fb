//! `keypool add`

use serde_json::{Map, Value};

use super::Screen;
use super::administer::edited;
use super::client::{Client, ClientError};
use super::keys::key_id;
use super::reload::READING;
use crate::pool::KeyId;

/// The arguments of `keypool add`. The daemon says what is wrong with them.
#[derive(Clone, Debug, clap::Args)]
pub struct AddArgs {
    /// The `key_id` of the new key.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
    /// Whose key it is; gemini if absent.
    #[arg(long)]
    pub provider: Option<String>,
    /// The model it is for; may be given more than once. Any model if absent.
    #[arg(long = "model")]
    pub models: Vec<String>,
    /// Requests a minute. No limit if absent.
    #[arg(long)]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[arg(long)]
    pub tpm: Option<u64>,
    /// Requests a day.
    #[arg(long)]
    pub rpd: Option<u64>,
    /// Requests in flight.
    #[arg(long)]
    pub max_concurrent: Option<u64>,
    /// Most requests at once after idling; rpm if absent.
    #[arg(long = "burst", value_name = "BURST")]
    pub burst_capacity: Option<u64>,
    /// 1 is used first.
    #[arg(long)]
    pub priority: Option<u64>,
    /// light, heavy or any word.
    #[arg(long = "workload", value_name = "WORKLOAD")]
    pub workload_type: Option<String>,
    /// A tag; may be given more than once.
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Keys of one group and model share their limits.
    #[arg(long)]
    pub quota_group: Option<String>,
    /// What the secret is called in its store, if not by the `key_id`.
    #[arg(long)]
    pub secret_name: Option<String>,
    /// The store of the secret; secrets.store of keypool.toml if absent.
    #[arg(long)]
    pub secret_store: Option<String>,
    /// For the strategy weighted.
    #[arg(long)]
    pub weight: Option<u64>,
    /// Leave it out of service until `keypool enable`.
    #[arg(long)]
    pub inactive: bool,
}

fn tag(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("a tag is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs `keypool add`.
pub async fn add(
    args: &AddArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send("/v1/keys", &args.entry(), READING).await?;
    edited(&answer, screen)
}

impl AddArgs {
    /// The entry of keys.json.
    fn entry(&self) -> Value {
        let models = match self.models.as_slice() {
            [] => None,
            [one] => Some(Value::from(one.as_str())),
            several => Some(Value::from(several)),
        };
        let tags = self.tags.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let tags: Map<String, Value> = tags.collect();
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let number = |number: Option<u64>| number.map(Value::from);
        let members = [
            ("key_id", Some(self.key.as_str().into())),
            ("provider", text(&self.provider)),
            ("model_name", models),
            ("rpm", number(self.rpm)),
            ("tpm", number(self.tpm)),
            ("rpd", number(self.rpd)),
            ("max_concurrent", number(self.max_concurrent)),
            ("burst_capacity", number(self.burst_capacity)),
            ("priority", number(self.priority)),
            ("workload_type", text(&self.workload_type)),
            ("tags", (!tags.is_empty()).then_some(tags.into())),
            ("quota_group", text(&self.quota_group)),
            ("secret_name", text(&self.secret_name)),
            ("secret_store", text(&self.secret_store)),
            ("weight", number(self.weight)),
            ("active", self.inactive.then_some(false.into())),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::tests::{Daemon, shown};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        add: AddArgs,
    }

    fn sent(line: &str) -> Value {
        let args = Line::parse_from(["add"].into_iter().chain(line.split(' '))).add;
        let daemon = Daemon::answering(r#"{"key_id":"a","result":"applied","added":["a"]}"#);
        let told = shown(false, async |screen| add(&args, &daemon.client, screen).await);
        assert_eq!(told, "applied\nadded: a\n");
        daemon.request_body()
    }

    #[test]
    fn what_is_given_is_a_field_and_nothing_else_is() {
        assert_eq!(sent("a"), json!({"key_id": "a"}));
        let line = "a --provider openai --model m --rpm 5 --tag x=y --tag z== --burst 2 --inactive";
        assert_eq!(
            sent(line),
            json!({"key_id": "a", "provider": "openai", "model_name": "m", "rpm": 5,
                "tags": {"x": "y", "z": "="}, "burst_capacity": 2, "active": false})
        );
        assert_eq!(sent("a --model m --model n")["model_name"], json!(["m", "n"]));
    }

    #[test]
    fn a_tag_without_a_value_is_wrong_usage() {
        assert!(Line::try_parse_from(["add", "a", "--tag", "x"]).is_err());
    }
}
