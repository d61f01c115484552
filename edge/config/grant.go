package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
)

var actionNames = []string{"publish", "subscribe", "history", "presence", "all"}

// ParseActions reads names of actions separated by commas.
func ParseActions(text string) (identity.Action, error) {
	var out identity.Action
	for word := range strings.SplitSeq(text, ",") {
		switch word = strings.TrimSpace(word); word {
		case "publish":
			out |= identity.Publish
		case "subscribe":
			out |= identity.Subscribe
		case "history":
			out |= identity.History
		case "presence":
			out |= identity.Presence
		case "all", "*":
			out |= identity.All
		default:
			return 0, errors.New(unknownWord(word, actionNames))
		}
	}
	return out, nil
}

// ParseGrant reads pattern:actions, as "rides.>:publish,history".
func ParseGrant(text string) (auth.Grant, error) {
	pattern, list, ok := strings.Cut(text, ":")
	if !ok || pattern == "" || list == "" {
		return auth.Grant{}, fmt.Errorf("want pattern:actions such as rides.>:publish,history, not %q", text)
	}
	if _, err := channel.CheckPattern(pattern); err != nil {
		return auth.Grant{}, fmt.Errorf("grant %q: %w", text, err)
	}
	actions, err := ParseActions(list)
	if err != nil {
		return auth.Grant{}, fmt.Errorf("grant %q: %w", text, err)
	}
	g := auth.Grant{Channels: []string{pattern}}
	for _, a := range []struct {
		action identity.Action
		name   string
	}{{identity.Publish, "publish"}, {identity.Subscribe, "subscribe"}, {identity.History, "history"}, {identity.Presence, "presence"}} {
		if actions&a.action != 0 {
			g.Actions = append(g.Actions, a.name)
		}
	}
	return g, nil
}
