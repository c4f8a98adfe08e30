//! The official Rust SDK as a client of one server.
//!
//! ```text
//! interop-rmcp BRIEF
//! ```
//!
//! BRIEF is what `pair_node.mjs` gets, without `sdk`. What was seen is printed as one JSON object; nothing of it is
//! judged here.

// Sampling and roots are deprecated in the newest revision, and in use in all of them.
#![allow(deprecated)]

use rmcp::model::{
    CallToolRequestParams, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, GetPromptRequestParams, ListRootsResult,
    ProtocolVersion, ReadResourceRequestParams, Root, SamplingMessage,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, RequestContext, RoleClient, RunningService,
};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ErrorData};
use serde_json::{Value, json};

/// What this client answers when it is asked.
struct Answers {
    root: String,
}

impl ClientHandler for Answers {
    fn get_info(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.capabilities = from(json!({"roots": {}, "sampling": {}, "elicitation": {}}));
        config
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let message = SamplingMessage::assistant_text("a sampled answer");
        Ok(CreateMessageResult::new(message, "none".to_owned()))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new(self.root.as_str())]))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let mut answer = ElicitResult::new(ElicitationAction::Accept);
        answer.content = Some(json!({"name": "Ada", "check": true, "integer": 7}));
        Ok(answer)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let path = std::env::args().nth(1).expect("the path of a brief");
    let brief: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("a brief")).expect("JSON");
    let answers = Answers {
        root: text(&brief["root"]),
    };
    let mode = match brief["mode"].as_str().expect("a mode") {
        "legacy" => ClientLifecycleMode::Initialize,
        "auto" => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: None,
        },
        _ => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    };
    let target = &brief["target"];
    let client = if let Some(url) = target["url"].as_str() {
        answers
            .serve_with_lifecycle(StreamableHttpClientTransport::from_uri(url), mode)
            .await
    } else {
        let mut command = tokio::process::Command::new(text(&target["command"]));
        command.args(
            target["args"]
                .as_array()
                .expect("arguments")
                .iter()
                .map(text),
        );
        for (name, value) in target["env"].as_object().into_iter().flatten() {
            command.env(name, text(value));
        }
        answers
            .serve_with_lifecycle(TokioChildProcess::new(command).expect("a child"), mode)
            .await
    };
    let client = client.unwrap_or_else(|error| {
        // The last line is the reason, whole.
        eprintln!(
            "{}",
            error
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        );
        std::process::exit(1);
    });
    let mut seen = json!({"version": client.peer_info().map(|info| info.protocol_version.clone()), "answers": {}});
    seen["tools"] = match client.list_all_tools().await {
        Ok(tools) => json!(tools),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    for (name, ask) in brief["asks"].as_object().expect("what to ask") {
        seen["answers"][name] = asked(&client, &ask["kind"], ask["params"].clone())
            .await
            .unwrap_or_else(|error| json!({"error": error.to_string()}));
    }
    println!("{seen}");
    let _ = client.cancel().await;
}

async fn asked(
    client: &RunningService<RoleClient, Answers>,
    kind: &Value,
    params: Value,
) -> Result<Value, rmcp::ServiceError> {
    Ok(match kind.as_str().expect("a kind") {
        "call" => json!(
            client
                .call_tool(from::<CallToolRequestParams>(params))
                .await?
        ),
        "prompt" => json!(
            client
                .get_prompt(from::<GetPromptRequestParams>(params))
                .await?
        ),
        _ => json!(
            client
                .read_resource(from::<ReadResourceRequestParams>(params))
                .await?
        ),
    })
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a value of this form")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
