//! moto, which speaks as AWS does, and checks signatures and policies if it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{free_port, installed, until};

/// A server of one's own. It forgets everything when it stops, and dropping it kills it.
pub(crate) struct Moto {
    address: SocketAddr,
    child: Child,
}

/// An access key of a user.
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let address = ([127, 0, 0, 1], free_port()).into();
        Self { address, child: run(address) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts what was stopped, with nothing in it.
    pub(crate) fn start_again(&mut self) {
        self.child = run(self.address);
    }

    /// Has signatures and policies checked from here on, or not any more.
    pub(crate) fn check(&self, checked: bool) {
        let free = if checked { "0" } else { "1000000" };
        let (status, _) = exchange(self.address, "/moto-api/reset-auth", "iam", "", free).unwrap();
        assert_eq!(status, 200);
    }

    /// Calls `action` of Secrets Manager as somebody who is not checked.
    pub(crate) fn secrets(&self, action: &str, body: &Value) {
        let target = format!("x-amz-target: secretsmanager.{action}\r\n");
        let body = body.to_string();
        let answer = exchange(self.address, "/", "secretsmanager", &target, &body).unwrap();
        assert_eq!(answer.0, 200, "{action}: {}", answer.1);
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        self.secrets("CreateSecret", &json!({"Name": name, "SecretString": text}));
    }

    pub(crate) fn rotate(&self, name: &str, text: &str) {
        self.secrets("PutSecretValue", &json!({"SecretId": name, "SecretString": text}));
    }

    /// A new user who may do nothing.
    pub(crate) fn user(&self, name: &str) -> AccessKey {
        self.iam(&format!("Action=CreateUser&UserName={name}"));
        self.access_key(name)
    }

    /// Another access key of a user.
    pub(crate) fn access_key(&self, user: &str) -> AccessKey {
        let answer = self.iam(&format!("Action=CreateAccessKey&UserName={user}"));
        let id = element(&answer, "AccessKeyId");
        AccessKey { id, secret: element(&answer, "SecretAccessKey") }
    }

    /// Lets a user read the secrets, or forbids it again.
    pub(crate) fn permit(&self, user: &str, effect: &str) {
        let statement = format!(
            "%7B%22Effect%22%3A%22{effect}%22%2C%22Resource%22%3A%22%2A%22%2C\
             %22Action%22%3A%22secretsmanager%3AGetSecretValue%22%7D"
        );
        self.iam(&format!(
            "Action=PutUserPolicy&UserName={user}&PolicyName=p&PolicyDocument=%7B%22Version%22%3A\
             %222012-10-17%22%2C%22Statement%22%3A%5B{statement}%5D%7D"
        ));
    }

    fn iam(&self, form: &str) -> String {
        let kind = "content-type: application/x-www-form-urlencoded\r\n";
        let form = format!("{form}&Version=2010-05-08");
        let (status, answer) = exchange(self.address, "/", "iam", kind, &form).unwrap();
        assert_eq!(status, 200, "{form}: {answer}");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program listens at `address` when this returns.
fn run(address: SocketAddr) -> Child {
    let child = Command::new(installed("moto_server"))
        .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("moto answers", || exchange(address, "/moto-api/", "iam", "", "").is_ok());
    child
}

/// One request to `service`, with a signature that is none; the status and the body.
fn exchange(
    address: SocketAddr,
    path: &str,
    service: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nhost: {address}\r\n{headers}authorization: AWS4-HMAC-SHA256 \
         Credential=fake/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=fake\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((status.unwrap_or(0), body.unwrap_or_default()))
}

fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}
