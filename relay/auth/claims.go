package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
)

// maxUser is the longest user name: it is in every message its user publishes
// and in every presence list.
const maxUser = 256 // bytes

// maxTokenID is the longest jti: it is in resume tickets.
const maxTokenID = 256 // bytes

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// rawClaims keeps the payload unread until the signature has been verified: what
// an unknown sender claims decides nothing, not even which error is told.
type rawClaims struct {
	jwt.RegisteredClaims // for the interface; never filled
	raw                  []byte
}

func (c *rawClaims) UnmarshalJSON(b []byte) error {
	c.raw = bytes.Clone(b)
	return nil
}

// identify reads the claims of a verified token (RFC 7519 §4.1 and ours).
func (v *Verifier) identify(raw []byte, dev bool) (*identity.Identity, error) {
	claims, ok := members(raw)
	if !ok {
		return nil, bad("the claims are not an object")
	}
	who := &identity.Identity{}
	if err := text(claims, "sub", &who.User); err != nil {
		return nil, err
	}
	if len(who.User) > maxUser || !printable(who.User) {
		return nil, bad("sub: longer than %d bytes, or with control characters", maxUser)
	}
	if err := text(claims, "jti", &who.Token); err != nil {
		return nil, err
	}
	if len(who.Token) > maxTokenID {
		return nil, bad("jti: longer than %d bytes", maxTokenID)
	}
	if err := v.checkParties(claims); err != nil {
		return nil, err
	}
	if err := v.checkTimes(claims, who, dev); err != nil {
		return nil, err
	}
	if own, ok := claims["chappe"]; ok {
		if err := readOwn(own, who); err != nil {
			return nil, err
		}
	}
	if v.claims {
		who.Claims = further(claims)
	}
	return who, nil
}

// further returns the claims that are neither registered (RFC 7519 §4.1) nor
// ours, as a JSON object; "" if there are none.
func further(claims map[string]json.RawMessage) string {
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "chappe"} {
		delete(claims, name)
	}
	if len(claims) == 0 {
		return ""
	}
	b, err := json.Marshal(claims)
	if err != nil {
		return ""
	}
	return string(b)
}

func (v *Verifier) checkParties(claims map[string]json.RawMessage) error {
	if v.issuer != "" {
		var iss string
		if err := text(claims, "iss", &iss); err != nil {
			return err
		}
		if iss != v.issuer {
			return bad("iss: not the issuer that this server expects")
		}
	}
	if v.audience != "" {
		aud, err := audiences(claims["aud"])
		if err != nil {
			return err
		}
		if !slices.Contains(aud, v.audience) {
			return bad("aud: the token is not for this server")
		}
	}
	return nil
}

// audiences reads aud, a string or an array of them (RFC 7519 §4.1.3).
func audiences(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var one string
	if raw[0] == '"' && json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	if raw[0] != '[' || json.Unmarshal(raw, &many) != nil {
		return nil, bad("aud: not a string or an array of strings")
	}
	return many, nil
}

// checkTimes sets who.Expires to the moment from which the token is refused: the
// leeway is in it, so that a session does not end before its token would.
func (v *Verifier) checkTimes(claims map[string]json.RawMessage, who *identity.Identity, dev bool) error {
	now := v.clock()
	exp, hasExp, err := date(claims, "exp")
	if err != nil {
		return err
	}
	nbf, hasNbf, err := date(claims, "nbf")
	if err != nil {
		return err
	}
	iat, hasIat, err := date(claims, "iat")
	if err != nil {
		return err
	}
	switch {
	case !hasExp && !dev:
		return bad("exp: missing; tokens must expire")
	case hasExp && !now.Before(exp.Add(v.leeway)):
		return errExpired
	case hasNbf && now.Add(v.leeway).Before(nbf):
		return bad("nbf: the token is not valid yet")
	case hasIat && now.Add(v.leeway).Before(iat):
		return bad("iat: the token is from the future; do the clocks agree?")
	}
	if hasExp {
		who.Expires = exp.Add(v.leeway)
	}
	if hasIat {
		who.Issued = max(iat.UnixMilli(), 1)
	}
	return nil
}

// readOwn reads the claim "chappe". Members that we do not know are refused: one
// that a later version added to narrow a grant must not be passed over.
func readOwn(raw json.RawMessage, who *identity.Identity) error {
	own, ok := members(raw)
	if !ok {
		return bad("chappe: not an object")
	}
	for name := range own {
		if name != "grants" && name != "subs" {
			return bad("chappe: a member that is not grants or subs")
		}
	}
	grants, err := readGrants(own["grants"])
	if err != nil {
		return err
	}
	var fault *Error
	who.Grants = compile(grants, func(path, text string) bool {
		fault = bad("chappe.grants%s: %s", path, text)
		return false
	})
	if fault != nil {
		return fault
	}
	return readSubs(own["subs"], who)
}

func readGrants(raw json.RawMessage) ([]Grant, error) {
	if raw == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, bad("chappe.grants: not an array")
	}
	if len(list) > maxGrants {
		return nil, bad("chappe.grants: more than %d grants", maxGrants)
	}
	grants := make([]Grant, len(list))
	for i, item := range list {
		fields, ok := members(item)
		if !ok {
			return nil, bad("chappe.grants[%d]: not an object", i)
		}
		for name, value := range fields {
			var to *[]string
			switch name {
			case "channels":
				to = &grants[i].Channels
			case "actions":
				to = &grants[i].Actions
			default:
				return nil, bad("chappe.grants[%d]: a member that is not channels or actions", i)
			}
			if json.Unmarshal(value, to) != nil {
				return nil, bad("chappe.grants[%d].%s: not an array of strings", i, name)
			}
		}
	}
	return grants, nil
}

// readSubs reads the subscriptions that the server makes. Whoever may sign a
// token may also grant, so each of them is a grant to subscribe as well.
func readSubs(raw json.RawMessage, who *identity.Identity) error {
	if raw == nil {
		return nil
	}
	var subs []string
	if raw[0] != '[' || json.Unmarshal(raw, &subs) != nil {
		return bad("chappe.subs: not an array of strings")
	}
	if fault := addSubs(subs, who); fault != "" {
		return bad("chappe.subs%s", fault)
	}
	return nil
}

func addSubs(subs []string, who *identity.Identity) (fault string) {
	if len(subs) > maxSubs {
		return fmt.Sprintf(": more than %d", maxSubs)
	}
	for i, s := range subs {
		if _, err := channel.CheckPattern(s); err != nil {
			return fmt.Sprintf("[%d]: not a channel or pattern", i)
		}
		if slices.Contains(who.Subs, s) {
			continue
		}
		who.Subs = append(who.Subs, s)
		if !Allows(who, nil, identity.Subscribe, s) {
			who.Grants = append(who.Grants, identity.Grant{Pattern: s, Actions: identity.Subscribe})
		}
	}
	return ""
}

// members reads an object by the exact names of its members: encoding/json would
// take "SUB" for sub in a struct, RFC 7519 §4 does not. Of members with the same
// name the last counts, as §4 allows.
func members(raw []byte) (map[string]json.RawMessage, bool) {
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		return nil, false
	}
	return m, true
}

func text(claims map[string]json.RawMessage, name string, to *string) error {
	raw, ok := claims[name]
	if !ok {
		return nil
	}
	if raw[0] != '"' || json.Unmarshal(raw, to) != nil {
		return bad("%s: not a string", name)
	}
	return nil
}

// date reads a NumericDate: seconds since 1970, a fraction allowed (RFC 7519 §2).
func date(claims map[string]json.RawMessage, name string) (at time.Time, ok bool, err error) {
	raw, ok := claims[name]
	if !ok {
		return at, false, nil
	}
	f, perr := strconv.ParseFloat(string(raw), 64)
	if perr != nil || !(f >= 0 && f <= lastSecond) {
		return at, false, bad("%s: not a time in seconds since 1970", name)
	}
	whole := int64(f)
	return time.Unix(whole, int64((f-float64(whole))*1e9)), true, nil
}

func printable(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
