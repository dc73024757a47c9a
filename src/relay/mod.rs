//! One message to the next server: route (MX), policy, delivery, one outcome a recipient.
