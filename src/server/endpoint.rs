//! The endpoints: their paths and methods.

/// The endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Endpoint {
    Select,
    Report,
    Rotate,
    Keys,
    Key,
    Probe,
    Clear,
    Usage,
    Events,
    Status,
    Fleet,
    Reload,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
}

/// What stands for the one segment of a path that is a `key_id`.
const KEY_ID: &str = "{key_id}";

impl Endpoint {
    /// Every endpoint.
    pub(super) const ALL: [Self; 16] = [
        Self::Select,
        Self::Report,
        Self::Rotate,
        Self::Keys,
        Self::Key,
        Self::Probe,
        Self::Clear,
        Self::Usage,
        Self::Events,
        Self::Status,
        Self::Fleet,
        Self::Reload,
        Self::Livez,
        Self::Readyz,
        Self::Metrics,
        Self::OpenApi,
    ];

    /// The endpoint at `path`, and the `key_id` in it, which is empty where there is none.
    pub(super) fn at(path: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|endpoint| Some((endpoint, endpoint.key_id(path)?)))
    }

    /// Its path, in which `{key_id}` stands for a segment.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Select => "/v1/select",
            Self::Report => "/v1/report",
            Self::Rotate => "/v1/rotate",
            Self::Keys => "/v1/keys",
            Self::Key => "/v1/keys/{key_id}",
            Self::Probe => "/v1/keys/{key_id}/probe",
            Self::Clear => "/v1/keys/{key_id}/clear",
            Self::Usage => "/v1/usage",
            Self::Events => "/v1/events",
            Self::Status => "/v1/status",
            Self::Fleet => "/v1/fleet",
            Self::Reload => "/v1/reload",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
        }
    }

    /// The methods it takes.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Self::Select
            | Self::Report
            | Self::Rotate
            | Self::Reload
            | Self::Probe
            | Self::Clear => "POST",
            Self::Keys => "GET, HEAD, POST",
            Self::Key => "GET, HEAD, PATCH, DELETE",
            Self::Usage
            | Self::Events
            | Self::Status
            | Self::Fleet
            | Self::Livez
            | Self::Readyz
            | Self::Metrics
            | Self::OpenApi => "GET, HEAD",
        }
    }

    /// What `path` has in the place of the `key_id`, if it is of this endpoint.
    fn key_id(self, path: &str) -> Option<&str> {
        match self {
            Self::Key | Self::Probe | Self::Clear => {
                let (before, after) = self.path().split_once(KEY_ID)?;
                let segment = path.strip_prefix(before)?.strip_suffix(after)?;
                (!segment.is_empty() && !segment.contains('/')).then_some(segment)
            }
            Self::Select
            | Self::Report
            | Self::Rotate
            | Self::Keys
            | Self::Usage
            | Self::Events
            | Self::Status
            | Self::Fleet
            | Self::Reload
            | Self::Livez
            | Self::Readyz
            | Self::Metrics
            | Self::OpenApi => (self.path() == path).then_some(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_one_endpoint_at_most() {
        for endpoint in Endpoint::ALL {
            let path = endpoint.path().replace(KEY_ID, "flash_01");
            let key_id = if path == endpoint.path() { "" } else { "flash_01" };
            assert_eq!(Endpoint::at(&path), Some((endpoint, key_id)));
        }
        assert_eq!(Endpoint::at("/v1/keys/probe"), Some((Endpoint::Key, "probe")));
        assert_eq!(Endpoint::at("/v1/keys/probe/probe"), Some((Endpoint::Probe, "probe")));
        for path in ["", "/v1/keys/", "/v1/keys//probe", "/v1/keys/a/b", "/v1/keys/a/b/probe"] {
            assert_eq!(Endpoint::at(path), None, "{path}");
        }
    }
}
