package auth

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
)

// Limits of what one credential may carry. They bound what every publish walks
// through, and keep a resume ticket inside a cookie.
const (
	maxGrants   = 64  // grants of one credential
	maxPatterns = 256 // channels of all its grants together
	maxSubs     = 128 // subscriptions that the server makes for it
)

// Grant is the written form of grants, in a token's claims and in the
// configuration of API keys: actions on channels.
type Grant struct {
	Channels []string `json:"channels"` // channels and patterns: "rides.42", "rides.*", "rides.>", ">" for all
	Actions  []string `json:"actions"`  // "publish", "subscribe", "history", "presence", or "*" for all
}

// actionOf reads the name of an action; 0 if there is none of that name.
func actionOf(name string) identity.Action {
	switch name {
	case "publish":
		return identity.Publish
	case "subscribe":
		return identity.Subscribe
	case "history":
		return identity.History
	case "presence":
		return identity.Presence
	case "*":
		return identity.All
	}
	return 0
}

// compile turns written grants into those of an identity. Grants of the same
// pattern become one. report gets the path of each fault, as "[1].channels[0]";
// compile stops when it returns false.
func compile(grants []Grant, report func(path, text string) bool) []identity.Grant {
	if len(grants) > maxGrants {
		report("", fmt.Sprintf("more than %d grants", maxGrants))
		return nil
	}
	var out []identity.Grant
	at := make(map[string]int)
	patterns := 0
	for i, g := range grants {
		var actions identity.Action
		for j, name := range g.Actions {
			a := actionOf(name)
			if a == 0 && !report(fmt.Sprintf("[%d].actions[%d]", i, j), "not publish, subscribe, history, presence or *") {
				return nil
			}
			actions |= a
		}
		if len(g.Actions) == 0 && !report(fmt.Sprintf("[%d].actions", i), "no actions") {
			return nil
		}
		if len(g.Channels) == 0 && !report(fmt.Sprintf("[%d].channels", i), "no channels") {
			return nil
		}
		if patterns += len(g.Channels); patterns > maxPatterns {
			report("", fmt.Sprintf("more than %d channels in all grants", maxPatterns))
			return nil
		}
		for j, p := range g.Channels {
			if _, err := channel.CheckPattern(p); err != nil {
				if !report(fmt.Sprintf("[%d].channels[%d]", i, j), "not a channel or pattern") {
					return nil
				}
				continue
			}
			if k, ok := at[p]; ok {
				out[k].Actions |= actions
				continue
			}
			at[p] = len(out)
			out = append(out, identity.Grant{Pattern: p, Actions: actions})
		}
	}
	return out
}

// Allows reports whether id may do a in a channel, or in every channel of a
// pattern: by its grants, or because the namespace lets anybody. Each action of
// a set may come from a grant of its own, but one grant must cover the whole
// pattern: the union of two is never tried. A nil id has no grants; a nil
// namespace lets nobody. It allocates nothing.
func Allows(id *identity.Identity, ns *namespace.Options, a identity.Action, channelOrPattern string) bool {
	if a == 0 {
		return false
	}
	var have identity.Action
	if ns != nil {
		have = ns.Anonymous
	}
	if have&a == a {
		return true
	}
	if id == nil {
		return false
	}
	for i := range id.Grants {
		g := &id.Grants[i]
		if g.Actions&a&^have == 0 || !channel.Covers(g.Pattern, channelOrPattern) {
			continue
		}
		if have |= g.Actions; have&a == a {
			return true
		}
	}
	return false
}
