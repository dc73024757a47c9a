//! Chooses the text parts of a message, which a mail reader displays; all other parts are files.

use super::structure::{PartRole, StructurePart};

/// The media types that are displayed as text.
const SHOWN: &[&str] =
    &["text/plain", "text/html", "text/enriched", "text/richtext", "text/markdown", "text/x-markdown"];

/// The text parts of a message, as indices into its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bodies {
    /// The text parts in reading order: from alternatives, the plain one; an HTML part if there is no other text.
    pub text: Vec<usize>,
    /// The HTML parts; from alternatives, the last one.
    pub html: Vec<usize>,
}

impl Bodies {
    /// Chooses among the parts of a message. A text with a file name or with the disposition `attachment` is a file. If
    /// there is no other text, the first one with a name is displayed as well.
    pub fn choose(parts: &[StructurePart]) -> Bodies {
        let chosen = choose(parts, 0, false);
        if chosen.text.is_empty() {
            let mut named = choose(parts, 0, true);
            named.text.truncate(1);
            named.html.retain(|part| named.text.contains(part));
            return named;
        }
        chosen
    }

    fn join(mut self, more: Bodies) -> Bodies {
        self.text.extend(more.text);
        self.html.extend(more.html);
        self
    }
}

/// The texts in one part, whose nesting is at most [`super::structure::MAX_DEPTH`].
fn choose(parts: &[StructurePart], place: usize, named: bool) -> Bodies {
    let Some(part) = parts.get(place) else { return Bodies::default() };
    let mut inside = part.children.iter().map(|child| choose(parts, *child, named));
    match (part.role, part.content_type.as_str()) {
        (PartRole::Leaf, kind) => {
            let file = part.disposition.as_deref() == Some("attachment") || part.name.is_some() && !named;
            if file || !SHOWN.contains(&kind) {
                return Bodies::default();
            }
            Bodies { text: vec![place], html: if kind == "text/html" { vec![place] } else { Vec::new() } }
        }
        // The message is an attached one and nothing else.
        (PartRole::Message, _) if place == 0 => inside.next().unwrap_or_default(),
        (PartRole::Message, _) => Bodies::default(),
        (PartRole::Multipart, "multipart/alternative") => {
            let all: Vec<Bodies> = inside.collect();
            let is_plain = |part: &usize| parts.get(*part).is_some_and(|part| part.content_type != "text/html");
            let plain = |bodies: &&Bodies| bodies.text.iter().any(is_plain);
            let text = all.iter().find(plain).or_else(|| all.iter().find(|bodies| !bodies.text.is_empty()));
            let html = all.iter().rfind(|bodies| !bodies.html.is_empty());
            Bodies {
                text: text.map(|bodies| bodies.text.clone()).unwrap_or_default(),
                html: html.map(|bodies| bodies.html.clone()).unwrap_or_default(),
            }
        }
        (PartRole::Multipart, "multipart/related") => {
            // The root is named, or the first (RFC 2387, section 3.2); the others belong to it.
            let root = part.parameters.get("start").and_then(|start| {
                let id = start.trim_matches(['<', '>', ' ']).to_owned();
                part.children.iter().find(|child| {
                    parts.get(**child).is_some_and(|child| child.content_id.as_deref() == Some(id.as_str()))
                })
            });
            let root = root.map(|root| choose(parts, *root, named)).filter(|bodies| !bodies.text.is_empty());
            root.or_else(|| inside.find(|bodies| !bodies.text.is_empty())).unwrap_or_default()
        }
        (PartRole::Multipart, _) => inside.fold(Bodies::default(), Bodies::join),
    }
}
