//! Every method of the protocol: who may send it, and in which era.
//!
//! One table; a method that is not in it is [`Method::Other`] and travels, if at all, as bytes. The
//! variants double as metric labels, so that no label is ever chosen by a peer.

use super::Era;

/// Who sends a method to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
    /// Either.
    Both,
}

/// Whether an answer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It carries an id and wants one answer.
    Request,
    /// It carries no id and wants none.
    Notification,
}

macro_rules! methods {
    ($($variant:ident $name:literal $direction:ident $kind:ident $eras:expr;)*) => {
        /// A method of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Method {
            $($variant,)*
            /// One that this table does not know.
            Other,
        }

        impl Method {
            /// Every method of the table, in its order, without [`Method::Other`].
            pub const ALL: &[Method] = &[$(Method::$variant,)*];

            /// The method of that name; names are case-sensitive.
            pub fn parse(name: &str) -> Method {
                match name {
                    $($name => Method::$variant,)*
                    _ => Method::Other,
                }
            }

            /// The name on the wire; `other` for what the table does not know.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Method::$variant => $name,)*
                    Method::Other => "other",
                }
            }

            /// Who sends it.
            pub const fn direction(self) -> Direction {
                match self {
                    $(Method::$variant => Direction::$direction,)*
                    Method::Other => Direction::Both,
                }
            }

            /// Whether an answer is due.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Method::$variant => Kind::$kind,)*
                    Method::Other => Kind::Request,
                }
            }

            /// Whether `era` knows it.
            pub fn known_in(self, era: Era) -> bool {
                let eras: &[Era] = match self {
                    $(Method::$variant => $eras,)*
                    Method::Other => &[],
                };
                eras.contains(&era)
            }
        }
    };
}

const LEGACY: &[Era] = &[Era::Legacy];
const MODERN: &[Era] = &[Era::Modern];
const BOTH: &[Era] = &[Era::Legacy, Era::Modern];

methods! {
    Initialize             "initialize"                           ToServer Request      LEGACY;
    Ping                   "ping"                                 Both     Request      LEGACY;
    Discover               "server/discover"                      ToServer Request      MODERN;
    ToolsList              "tools/list"                           ToServer Request      BOTH;
    ToolsCall              "tools/call"                           ToServer Request      BOTH;
    PromptsList            "prompts/list"                         ToServer Request      BOTH;
    PromptsGet             "prompts/get"                          ToServer Request      BOTH;
    ResourcesList          "resources/list"                       ToServer Request      BOTH;
    ResourcesTemplatesList "resources/templates/list"             ToServer Request      BOTH;
    ResourcesRead          "resources/read"                       ToServer Request      BOTH;
    ResourcesSubscribe     "resources/subscribe"                  ToServer Request      LEGACY;
    ResourcesUnsubscribe   "resources/unsubscribe"                ToServer Request      LEGACY;
    Complete               "completion/complete"                  ToServer Request      BOTH;
    SetLevel               "logging/setLevel"                     ToServer Request      LEGACY;
    Listen                 "subscriptions/listen"                 ToServer Request      MODERN;
    TasksGet               "tasks/get"                            Both     Request      BOTH;
    TasksResult            "tasks/result"                         Both     Request      LEGACY;
    TasksList              "tasks/list"                           Both     Request      LEGACY;
    TasksUpdate            "tasks/update"                         ToServer Request      MODERN;
    TasksCancel            "tasks/cancel"                         Both     Request      BOTH;
    CreateMessage          "sampling/createMessage"               ToClient Request      LEGACY;
    Elicit                 "elicitation/create"                   ToClient Request      LEGACY;
    RootsList              "roots/list"                           ToClient Request      LEGACY;
    Initialized            "notifications/initialized"            ToServer Notification LEGACY;
    Cancelled              "notifications/cancelled"              Both     Notification BOTH;
    Progress               "notifications/progress"               Both     Notification BOTH;
    RootsChanged           "notifications/roots/list_changed"     ToServer Notification LEGACY;
    LogMessage             "notifications/message"                ToClient Notification BOTH;
    ToolsChanged           "notifications/tools/list_changed"     ToClient Notification BOTH;
    PromptsChanged         "notifications/prompts/list_changed"   ToClient Notification BOTH;
    ResourcesChanged       "notifications/resources/list_changed" ToClient Notification BOTH;
    ResourceUpdated        "notifications/resources/updated"      ToClient Notification BOTH;
    ElicitComplete         "notifications/elicitation/complete"   ToClient Notification LEGACY;
    TaskStatus             "notifications/tasks/status"           Both     Notification LEGACY;
    TaskChanged            "notifications/tasks"                  ToClient Notification MODERN;
    Acknowledged           "notifications/subscriptions/acknowledged" ToClient Notification MODERN;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_method() {
        for &method in Method::ALL {
            assert_eq!(Method::parse(method.name()), method);
        }
    }

    #[test]
    fn notifications_are_named_as_such() {
        for &method in Method::ALL {
            let named = method.name().starts_with("notifications/");
            assert_eq!(method.kind() == Kind::Notification, named, "{method:?}");
        }
    }

    #[test]
    fn unknown_and_miscased_names_are_other() {
        assert_eq!(Method::parse("tools/destroy"), Method::Other);
        assert_eq!(Method::parse("Tools/call"), Method::Other);
    }
}
