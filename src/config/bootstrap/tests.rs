use std::fs;

use super::*;
use crate::secrets::Process;

fn process(variables: &[(&str, &str)]) -> Process {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Process { umask: 0o022, ..Process::new(variables) }
}

fn load(text: &str, variables: &[(&str, &str)], flags: Flags) -> Result<Bootstrap, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keypool.toml");
    let here = dir.path().display().to_string();
    fs::write(dir.path().join("a.env"), "KEYPOOL_LOG=warn\nSECRET_STORE_TYPE=file\n").unwrap();
    fs::write(&path, text.replace("HERE", &here)).unwrap();
    let flags = Flags { config: Some(path), ..flags };
    bootstrap(&flags, &process(variables))
        .map_err(|Problems(list)| shown(&list).iter().map(|p| p.replace(&here, "HERE")).collect())
}

fn shown(problems: &[Problem]) -> Vec<String> {
    let name = |problem: &Problem| {
        let text = problem.to_string();
        text.rsplit_once("keypool.toml:").map_or(text.clone(), |(_, rest)| rest.to_owned())
    };
    problems.iter().map(name).collect()
}

fn valid(text: &str) -> Bootstrap {
    load(text, &[], Flags::default()).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    load(text, &[], Flags::default()).unwrap_err()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let Bootstrap { settings, warnings, .. } = valid("");
    assert_eq!(settings.socket, Path::new("/run/keypool/keypool.sock"));
    assert_eq!(settings.keys, Path::new("/etc/keypool/keys.json"));
    assert_eq!(settings.metrics_addr, Some(([127, 0, 0, 1], 9464).into()));
    assert_eq!(settings.quota.delay_guard, Duration::from_millis(500));
    assert_eq!(settings.server.mode, 0o660);
    assert_eq!(settings.lease_ttl, Duration::from_mins(10));
    assert_eq!(settings.reset_zone("gemini").name(), "America/Los_Angeles");
    assert_eq!(settings.reset_zone("openai").name(), "UTC");
    assert_eq!(warnings, []);
}

#[test]
fn every_setting_of_the_contract_is_known() {
    let text = r#"
        socket = "run/keypool.sock"
        keys = "config/keys.json"
        env_files = ["HERE/a.env"]
        state_dir = ""
        metrics_addr = ""
        log = "debug"
        log_format = "json"
        [quota]
        delay_guard = "250ms"
        default_tokens = 1_000
        adaptive = false
        share = 0.5
        reset_zone = {gemini = "UTC", mine = "Europe/Berlin"}
        [cooldown]
        first = "10s"
        max = "10m"
        [lease]
        ttl = "1d"
        [wait]
        max = "5s"
        [probe]
        enabled = false
        timeout = "1s"
        concurrency = 2
        allow_private = true
        [secrets]
        store = "file"
        dir = "secrets"
        [server]
        mode = "0600"
        group = "app"
        allow_uids = []
        allow_gids = []
        require_header = "x-keypool: word"
        max_connections = 64
        max_connections_per_uid = 8
        grace = "1s"
        [shared]
        on_failure = "closed"
        timeout = "20ms"
        [providers.mine]
        base_url = "http://10.0.0.1/api"
        probe = {path = "/me", headers = {x-version = "1"}, expect = 204}
        auth_header = {name = "X-Api-Key", prefix = "Token "}
        "#;
    let Bootstrap { settings, warnings, .. } = valid(text);
    assert_eq!(warnings, []);
    assert_eq!((settings.state_dir.as_ref(), settings.metrics_addr), (None, None));
    assert_eq!(settings.quota.default_tokens, 1000);
    assert_eq!(settings.reset_zone("mine").name(), "Europe/Berlin");
    assert_eq!(settings.secrets.store, Store::File { dir: "secrets".into() });
    let header = settings.providers["mine"].auth_header.clone().unwrap();
    assert_eq!((&*header.name, &*header.prefix), ("x-api-key", "Token "));
}

#[test]
fn every_error_comes_at_once_with_its_place_and_without_the_text() {
    let told = errors(
        "sokcet = \"canary\"\nkeys = 5\nlog = \"canary\"\n[quota]\nshare = 1.5\nttl = \"1s\"\n\
         socket = \"canary\"\n[coooldown]\nfirst = \"1s\"\n[wait]\nmax = \"canary\"\n\
         [server]\nmax_connections = 0\nmode = 660\n",
    );
    assert_eq!(
        told,
        [
            "1:1: unknown setting; did you mean socket?",
            "2:8: keys: expected a path",
            "3:7: log: expected one of off, error, warn, info, debug, trace, or levels by module \
             such as \"info,keypool::pool=debug\"",
            "5:9: quota.share: expected a number above 0 and at most 1",
            "6:1: unknown setting; ttl belongs in [lease]",
            "7:1: unknown setting; socket belongs at the top, before the first [section]",
            "8:2: unknown setting; did you mean cooldown?",
            "11:7: wait.max: expected a time such as \"500ms\", \"30s\", \"10m\", \"24h\" or \
             \"1d\"",
            "13:19: server.max_connections: expected a whole number from 1 to 65536",
            "14:8: server.mode: expected a file mode such as \"0660\"",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn an_unknown_setting_near_none_is_told_with_all_there_are() {
    let told = errors("[quota]\ncanary = 1\n");
    let expected = "2:1: unknown setting; those of its place are adaptive, default_tokens, \
                    delay_guard, reset_zone, share";
    assert_eq!(told, [expected]);
}

#[test]
fn what_is_no_toml_is_told_by_its_place_alone() {
    let told = errors("socket = \"a\"\nsocket = \"b\"\nkeys = canary\n");
    assert!(told[0].starts_with("2:1: this is set twice"), "{told:?}");
    assert!(told[1].starts_with("3:8: expected TOML"), "{told:?}");
    assert!(!told.concat().contains("canary"), "{told:?}");
}

#[test]
fn a_flag_stands_over_a_variable_and_a_variable_over_the_file() {
    let text = "socket = \"file.sock\"\nkeys = \"file.json\"\nlog = \"error\"\n";
    let variables = [("KEYPOOL_SOCKET", "variable.sock"), ("KEYPOOL_KEYS", "variable.json")];
    let flags = Flags { socket: Some("flag.sock".into()), ..Flags::default() };
    let settings = load(text, &variables, flags).unwrap().settings;
    assert_eq!(settings.socket, Path::new("flag.sock"));
    assert_eq!(settings.keys, Path::new("variable.json"));
    assert_eq!(settings.log, "error");
}

#[test]
fn any_setting_has_a_variable_and_env_files_hold_variables_too() {
    let variables = [("KEYPOOL_QUOTA_SHARE", "0.25"), ("KEYPOOL_STATE_DIR", "")];
    let text = "env_files = [\"HERE/a.env\"]\n[secrets]\ndir = \"secrets\"\n";
    let settings = load(text, &variables, Flags::default()).unwrap().settings;
    assert!((settings.quota.share - 0.25).abs() < f64::EPSILON);
    assert_eq!(settings.state_dir, None);
    assert_eq!(settings.log, "warn");
    assert_eq!(settings.secrets.store, Store::File { dir: "secrets".into() });
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let told = load("", &[("KEYPOOL_QUOTA_SHARE", "canary")], Flags::default()).unwrap_err();
    assert_eq!(told, ["KEYPOOL_QUOTA_SHARE: expected a number above 0 and at most 1"]);
    let told = load("", &[("ENABLE_KEY_ROTATION", "canary")], Flags::default()).unwrap_err();
    assert_eq!(told, ["ENABLE_KEY_ROTATION: expected true or false"]);
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let built = load("", &[("KEYPOOL_SOKET", "x")], Flags::default()).unwrap();
    let told = "KEYPOOL_SOKET: there is no such setting, so this has no effect; did you mean \
                KEYPOOL_SOCKET?";
    assert_eq!(shown(&built.warnings), [told]);
}

#[test]
fn no_address_of_redis_is_shown() {
    let built = valid("[shared]\nredis_url = \"redis://canary@x/\"\non_failure = \"share\"\n");
    assert_eq!(built.settings.shared.on_failure, crate::shared_quota::OnFailure::Share);
    assert_eq!(shown(&built.warnings), [""; 0]);
    assert!(!format!("{built:?}").contains("canary"));
}

#[test]
fn a_probe_is_built_in_and_each_part_of_it_can_be_set() {
    let probing = valid(
        "[providers.openai]\nbase_url = \"https://proxy.example.com/openai/\"\n\
         [providers.anthropic.probe]\npath = \"/v1/me\"\nheaders = {anthropic-version = \"x\"}\n\
         [providers.mine]\nbase_url = \"https://mine.example.com\"\n\
         probe = {path = \"/me\", expect = 405}\nauth_header = {name = \"x-token\"}\n",
    );
    let probing = probing.settings.probing(Duration::from_mins(2));
    let url = |name| probing.request(name).map(|request| request.probe.url());
    assert_eq!(
        ["gemini", "openai", "anthropic", "mine", "other"].map(url),
        [
            Some("https://generativelanguage.googleapis.com/v1beta/models?pageSize=1".to_owned()),
            Some("https://proxy.example.com/openai/v1/models".to_owned()),
            Some("https://api.anthropic.com/v1/me".to_owned()),
            Some("https://mine.example.com/me".to_owned()),
            None,
        ]
    );
    let mine = probing.request("mine").unwrap();
    assert_eq!((mine.probe.expect, &*mine.auth_header.name), (Some(405), "x-token"));
    let headers = probing.request("anthropic").unwrap().probe.headers;
    assert_eq!(headers.last(), Some(&("anthropic-version".into(), "x".into())));
    assert_eq!((probing.every, probing.settings.enabled), (Duration::from_mins(2), true));
}

#[test]
fn what_must_not_be_probed_is_an_error_unless_it_is_allowed_or_nothing_is_probed() {
    let private = "is not a public address; probe.allow_private = true permits it";
    for (url, told) in [
        ("https://[::ffff:169.254.169.254]/", private),
        ("https://0x7f.1/", private),
        ("https://localhost", private),
        ("http://api.example.com", "expected https; probe.allow_private = true permits http"),
    ] {
        let toml = |probe| format!("[probe]\n{probe}\n[providers.gemini]\nbase_url = \"{url}\"\n");
        assert_eq!(errors(&toml("")), [format!("4:12: providers.gemini.base_url: {told}")]);
        valid(&toml("allow_private = true"));
        valid(&toml("enabled = false"));
    }
    let told = errors("[providers.gemini]\nbase_url = \"https://me:canary@example.com\"\n");
    assert_eq!(told.len(), 1);
    assert!(!told[0].contains("canary"), "{told:?}");
}

#[test]
fn half_a_probe_is_worth_a_word() {
    let built = valid(
        "[providers.a]\nbase_url = \"https://a.example.com\"\n[providers.b]\nprobe = {path = \"/\"}\n",
    );
    assert_eq!(
        shown(&built.warnings),
        [
            "2:12: providers.a.base_url: has no effect without a probe such as \
             {path = \"/v1/models\"}",
            "4:9: providers.b.probe: has no effect without base_url, such as \
             \"https://api.example.com\"",
        ]
    );
}

#[test]
fn every_store_can_be_the_usual_one_and_the_store_file_needs_its_directory() {
    for store in ["env", "credentials", "vault", "aws", "azure"] {
        let built = valid(&format!("[secrets]\nstore = \"{store}\"\n"));
        assert_eq!(built.warnings, [], "{store}");
    }
    let told = errors("[secrets]\nstore = \"file\"\n");
    assert_eq!(told, ["2:9: secrets.store: the store file needs dir under [secrets]"]);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let flags = Flags { config: Some("nowhere/keypool.toml".into()), ..Flags::default() };
    let told = bootstrap(&flags, &process(&[])).unwrap_err().to_string();
    assert_eq!(told, "nowhere/keypool.toml: there is no such file");
    let named = process(&[("KEYPOOL_CONFIG", "elsewhere/keypool.toml")]);
    let told = bootstrap(&Flags::default(), &named).unwrap_err().to_string();
    assert_eq!(told, "elsewhere/keypool.toml: there is no such file");
}

#[test]
fn a_section_that_is_no_section_and_a_table_that_is_no_table_are_errors() {
    let told = errors("quota = 5\nproviders = \"x\"\nenv_files = \"x\"\n");
    assert_eq!(
        told,
        [
            "1:1: quota: is a section: expected [quota] and its settings below",
            "2:1: providers: is a section: expected [providers] and its settings below",
            "3:13: env_files: expected a list: [\"…\", \"…\"]",
        ]
    );
}

#[test]
fn the_configuration_of_a_fresh_clone_is_valid_and_every_secret_is_found() {
    let flags = Flags { config: Some("config/keypool.toml".into()), ..Flags::default() };
    let built = bootstrap(&flags, &process(&[])).unwrap();
    assert_eq!(built.warnings, []);
    let keys = built.load_keys().unwrap();
    let rpm: u64 = keys.pool.keys.iter().map(|key| key.limits.rpm.unwrap().get()).sum();
    assert_eq!((keys.pool.keys.len(), rpm), (8, 345));
    for reference in keys.secrets.values() {
        let remote = crate::secrets::RemoteSecrets::new(crate::clock::Clock::System);
        let found = built.stores.find(reference, &remote).unwrap();
        assert!(found.secret.expose().starts_with("fake-secret-"));
    }
}

fn sharing_warnings(text: &str) -> Vec<String> {
    shown(&valid(text).warnings)
}

#[test]
fn a_misspelt_scheme_is_told_with_the_one_that_is_meant_and_without_the_rest() {
    let told = errors("[shared]\nredis_url = \"reddis://u:canary@h/\"\n").join("\n");
    assert!(told.contains("expected a URL such as redis://"), "{told}");
    assert!(told.contains("did you mean redis") && !told.contains("canary"), "{told}");
    let told = errors("[shared]\nredis_url = \"redis://u:canary#@h/\"\n").join("\n");
    assert!(told.contains("%23 for #") && !told.contains("canary"), "{told}");
}

#[test]
fn what_makes_no_sense_together_is_warned_about() {
    let told = sharing_warnings(
        "quota.share = 0.5\n[shared]\nredis_url = \"redis://h/\"\ntimeout = \"10s\"\n\
         redis_timeout = \"8s\"\n",
    );
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("quota.share: lowers every limit once more"), "{told:?}");
    assert!(told[1].contains("shared.timeout: is longer than"), "{told:?}");
    assert!(told[2].contains("shared.redis_timeout: is so long"), "{told:?}");
}
