// Package identity says who a client is and what it may do. It is a leaf:
// package auth makes identities from tokens, sessions ask them.
package identity

import "time"

// Action is a set of things a grant allows on channels.
type Action uint8

// Actions.
const (
	Publish Action = 1 << iota
	Subscribe
	History
	Presence

	All = Publish | Subscribe | History | Presence
)

// Grant allows actions on the channels that a pattern matches.
type Grant struct {
	Pattern string // a channel or a pattern: "rides.42", "rides.*", "rides.>" or ">" for all
	Actions Action
}

// Identity is an authenticated client. It is immutable once made: a refresh
// replaces it. The zero value is an anonymous client with no grants.
type Identity struct {
	User    string    // "" for anonymous clients and API keys
	Key     string    // name of the API key, for back ends
	Grants  []Grant   // any one that covers the channel is enough
	Subs    []string  // subscriptions the server makes for this client
	Expires time.Time // zero: never
	Token   string    // the token's id (jti); "": it has none
	Issued  int64     // when the token was (iat), Unix milliseconds; 0: it does not say
	Claims  string    // the token's claims, a JSON object, for plugins; "" for none
	Ticket  bool      // shown by a resume ticket: it was admitted before
	Backend bool      // an API key: not limited by the per-connection publish rate
}
