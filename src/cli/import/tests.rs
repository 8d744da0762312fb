use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A directory with a flat file and whatever else a test puts there.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(flat: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("API_Keys.txt", flat);
        place.write("keypool.toml", "keys = \"HERE/keys.json\"\nenv_files = []\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let here = self.dir.path().display().to_string();
        fs::write(self.path(name), text.replace("HERE", &here)).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    fn args(&self) -> ImportArgs {
        ImportArgs {
            file: self.path("API_Keys.txt"),
            provider: "gemini".into(),
            models: vec!["gemini-2.0-flash".into()],
            rpm: Some(15),
            tpm: None,
            rpd: None,
            priority: None,
            keys: None,
            env_file: None,
            prefix: "key_".into(),
        }
    }

    fn run(&self, args: &ImportArgs) -> (u8, String) {
        let flags = Flags { config: Some(self.path("keypool.toml")), ..Flags::default() };
        let process = Process { umask: 0o022, ..Process::new([]) };
        let now = WallTime::from_millis(1_704_067_200_000);
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(args, false, &flags, &process, now, &mut out, &mut errors).unwrap();
        let text = String::from_utf8([out, errors].concat()).unwrap();
        assert!(!text.contains("fake-secret"), "{text}");
        (code, text.replace(&self.dir.path().display().to_string(), "HERE"))
    }
}

const FLAT: &str = "# mine\nfake-secret-1\n\nfake-secret-2\nfake-secret-1\n";

#[test]
fn a_flat_file_becomes_entries_and_variables() {
    let place = Place::new(FLAT);
    let (code, told) = place.run(&place.args());
    assert_eq!(
        told,
        "Imported 2 keys, key_01 to key_02.\n  \
         entries in HERE/keys.json\n  secrets in HERE/keys.env, mode 0600\n  \
         skipped 2: blank or a comment\n  skipped 1: the key is on another line\n\
         Next: add the secrets to env_files in HERE/keypool.toml: env_files = [\"HERE/keys.env\"]\n\
         Next: see what the daemon makes of it: keypool check\n\
         Next: when it is right, delete HERE/API_Keys.txt\n"
    );
    assert_eq!(code, 0);
    assert_eq!(
        place.read("keys.env"),
        "GEMINI_KEY_key_01=fake-secret-1\nGEMINI_KEY_key_02=fake-secret-2\n"
    );
    assert_eq!((place.mode("keys.env"), place.mode("keys.json")), (0o600, 0o644));
    let keys: serde_json::Value = serde_json::from_str(&place.read("keys.json")).unwrap();
    let expected = serde_json::json!({
        "key_id": "key_02", "provider": "gemini", "model_name": "gemini-2.0-flash", "rpm": 15,
        "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
    });
    assert_eq!(keys["keys"][1], expected);
}

#[test]
fn what_was_imported_is_a_valid_pool() {
    let place = Place::new(FLAT);
    place.run(&place.args());
    place.write("keypool.toml", "keys = \"HERE/keys.json\"\nenv_files = [\"HERE/keys.env\"]\n");
    let flags = Flags { config: Some(place.path("keypool.toml")), ..Flags::default() };
    let built = bootstrap(&flags, &Process { umask: 0o022, ..Process::new([]) }).unwrap();
    let keys = built.load_keys().unwrap();
    let remote = crate::secrets::RemoteSecrets::new(crate::clock::Clock::System);
    let secret = |reference| built.stores.find(reference, &remote).unwrap().secret;
    let secrets: Vec<_> = keys.secrets.values().map(|it| secret(it).expose().len()).collect();
    assert_eq!(secrets, [13, 13]);
    assert_eq!(keys.warnings, []);
}

#[test]
fn a_second_import_adds_what_is_new_and_loses_nothing() {
    let place = Place::new(FLAT);
    let text =
        "{\n  \"mine\": true,\n  \"keys\": [\n    {\"key_id\": \"key_01\", \"note\": 1}\n  ]\n}\n";
    place.write("keys.json", text);
    place.write("keys.env", "# mine\nGEMINI_KEY_key_01=fake-secret-2\nGEMINI_KEY_key_02=x");
    let (code, told) = place.run(&ImportArgs { rpm: None, models: Vec::new(), ..place.args() });
    assert_eq!(code, 0, "{told}");
    assert!(told.starts_with("Imported 1 key, key_03.\n"), "{told}");
    assert!(told.contains("skipped 1: the key is in the pool"), "{told}");
    let keys = place.read("keys.json");
    assert!(keys.starts_with(&text[..text.find("\n  ]").unwrap()]), "{keys}");
    let added = ",\n    {\"key_id\": \"key_03\", \"provider\": \"gemini\", \"created_at\": \"2024";
    assert!(keys.contains(added), "{keys}");
    let env = "# mine\nGEMINI_KEY_key_01=fake-secret-2\nGEMINI_KEY_key_02=x\n\
               GEMINI_KEY_key_03=fake-secret-1\n";
    assert_eq!(place.read("keys.env"), env);
    assert_eq!(place.mode("keys.json"), 0o600, "the mode of a file that was there is kept");
    let (_, told) = place.run(&place.args());
    assert!(told.starts_with("Imported no key"), "{told}");
    assert_eq!(place.read("keys.env"), env);
}

#[test]
fn nothing_is_written_where_anything_is_wrong() {
    let place = Place::new("fake-secret-1\nfake secret 2\n");
    let (code, told) = place.run(&place.args());
    assert_eq!(code, 1);
    assert_eq!(told, "HERE/API_Keys.txt:2: expected one key and nothing else on the line\n");
    place.write("API_Keys.txt", FLAT);
    place.write("keys.json", "{\"keys\": [{\"key_id\": \"a\", \"rpm\": 0}]}");
    assert_eq!(place.run(&place.args()).0, 78);
    place.write("keys.json", "{\"keys\": [{\"key_id\": \"a\"}]}");
    place.write("keys.env", "A=1\nA=2\n");
    let (code, told) = place.run(&place.args());
    let expected = "HERE/keys.env:2: this variable is set already on line 1\n";
    assert_eq!((code, told.as_str()), (78, expected));
    assert_eq!(place.read("keys.env"), "A=1\nA=2\n");
    let long = "x".repeat(60);
    place.write("API_Keys.txt", "fake-secret-1");
    place.write("keys.env", "");
    assert_eq!(place.run(&ImportArgs { prefix: long, ..place.args() }).0, 0);
    let wrong = ImportArgs { prefix: "a b".into(), ..place.args() };
    assert_eq!(place.run(&wrong).0, 2);
    let missing = ImportArgs { file: place.path("none.txt"), ..place.args() };
    place.write("keys.env", "A=1\n");
    assert_eq!(place.run(&missing), (1, "HERE/none.txt: there is no such file\n".to_owned()));
}
