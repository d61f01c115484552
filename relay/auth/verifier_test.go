package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

var b64 = base64.RawURLEncoding

type object = map[string]any

// claimsWith is a good payload with changes; a nil value removes a member.
func claimsWith(changes object) object {
	c := object{
		"sub": "ada", "iss": "us", "aud": "relay", "iat": epoch.Unix(), "nbf": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix(),
		"chappe": object{"grants": []object{{"channels": []string{"rides.>"}, "actions": []string{"publish", "subscribe"}}}},
	}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

// sign makes a token by hand, of any header and payload.
func sign(t testing.TB, key Key, header object, payload any) string {
	t.Helper()
	h := object{"alg": key.Algorithm, "typ": "JWT"}
	maps.Copy(h, header)
	head, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	raw, isRaw := payload.(string)
	body := []byte(raw)
	if !isRaw {
		if body, err = json.Marshal(payload); err != nil {
			t.Fatal(err)
		}
	}
	signed := b64.EncodeToString(head) + "." + b64.EncodeToString(body)
	private, err := key.signing()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := method(key.Algorithm).Sign(signed, private)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64.EncodeToString(sig)
}

func hs(secret []byte, signed string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(m.Sum(nil))
}

// refused checks that the error is coded, and says nothing of the token.
func refused(t testing.TB, v *Verifier, token string, code wire.Code, text string) {
	t.Helper()
	id, err := v.Verify(token)
	e, ok := errors.AsType[*Error](err)
	if !ok || id != nil {
		t.Fatalf("Verify = %v, %v; want an *Error", id, err)
	}
	if e.Code != code || !strings.Contains(e.Text, text) {
		t.Fatalf("refused with %v; want %s %q", e, code, text)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(e.Text, part) {
			t.Fatalf("the text %q repeats the token", e.Text)
		}
	}
}

func TestGoodTokens(t *testing.T) {
	v := newVerifier(t, func(c *Config) { c.Issuer, c.Audience = "us", "relay" })
	want := &identity.Identity{
		User: "ada", Expires: epoch.Add(time.Hour + defaultLeeway),
		Grants: []identity.Grant{{Pattern: "rides.>", Actions: identity.Publish | identity.Subscribe}},
	}
	for _, key := range []Key{hsKey, esKey, okKey} {
		for name, token := range map[string]string{
			"with kid":       sign(t, key, object{"kid": key.ID}, claimsWith(nil)),
			"without kid":    sign(t, key, nil, claimsWith(nil)),
			"aud in a list":  sign(t, key, nil, claimsWith(object{"aud": []string{"other", "relay"}})),
			"a fraction":     sign(t, key, nil, claimsWith(object{"exp": json.RawMessage(fmt.Sprintf("%d.0e0", epoch.Add(time.Hour).Unix()))})),
			"unknown claims": sign(t, key, nil, claimsWith(object{"roles": []string{"x"}, "SUB": "eve", "Sub": "eve"})),
			"nbf within leeway": sign(t, key, nil, claimsWith(object{
				"nbf": epoch.Add(defaultLeeway).Unix(), "iat": epoch.Add(defaultLeeway).Unix()})),
		} {
			id, err := v.Verify(token)
			if err != nil {
				t.Errorf("%s %s: %v", key.Algorithm, name, err)
				continue
			}
			if !id.Expires.Equal(want.Expires) {
				t.Errorf("%s %s: ends %v, not %v", key.Algorithm, name, id.Expires, want.Expires)
			}
			if iat := time.UnixMilli(id.Issued); iat.Before(epoch) || iat.After(epoch.Add(defaultLeeway)) {
				t.Errorf("%s %s: issued %v", key.Algorithm, name, iat)
			}
			if id.Expires, id.Issued = want.Expires, 0; !reflect.DeepEqual(id, want) {
				t.Errorf("%s %s: %+v", key.Algorithm, name, id)
			}
		}
	}
}

func TestBadClaims(t *testing.T) {
	v := newVerifier(t, func(c *Config) { c.Issuer, c.Audience = "us", "relay" })
	grant := func(g object) object { return object{"chappe": object{"grants": []object{g}}} }
	many := func(n int, f func(int) any) (out []any) {
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	one := func(int) any { return object{"channels": []string{"a"}, "actions": []string{"*"}} }
	name := func(i int) any { return fmt.Sprintf("c%d", i) }
	bad, expired := wire.CodeBadToken, wire.CodeTokenExpired
	for _, c := range []struct {
		name   string
		change any
		code   wire.Code
		text   string
	}{
		{"expired", object{"exp": epoch.Add(-time.Hour).Unix()}, expired, "expired"},
		{"expired, to the second", object{"exp": epoch.Add(-defaultLeeway).Unix()}, expired, "expired"},
		{"no exp", object{"exp": nil}, bad, "exp: missing"},
		{"exp a string", object{"exp": "2030"}, bad, "exp: not a time"},
		{"exp huge", object{"exp": json.RawMessage("1e300")}, bad, "exp: not a time"},
		{"exp huge integer", object{"exp": json.RawMessage("9223372036854775807")}, bad, "exp: not a time"},
		{"exp negative", object{"exp": -1}, bad, "exp: not a time"},
		{"exp null", object{"exp": json.RawMessage("null")}, bad, "exp: not a time"},
		{"nbf", object{"nbf": epoch.Add(time.Hour).Unix()}, bad, "nbf"},
		{"iat", object{"iat": epoch.Add(time.Hour).Unix()}, bad, "iat"},
		{"iss", object{"iss": "them"}, bad, "iss"},
		{"iss missing", object{"iss": nil}, bad, "iss"},
		{"iss a list", object{"iss": []string{"us"}}, bad, "iss: not a string"},
		{"aud", object{"aud": "them"}, bad, "aud"},
		{"aud missing", object{"aud": nil}, bad, "aud"},
		{"aud an object", object{"aud": object{"relay": 1}}, bad, "aud: not a string"},
		{"aud of numbers", object{"aud": []any{1}}, bad, "aud: not a string"},
		{"aud a prefix", object{"aud": "relay2"}, bad, "aud"},
		{"iss and aud swapped", object{"iss": "relay", "aud": "us"}, bad, "iss"},
		{"expired and of others", object{"iss": "them", "exp": 1}, bad, "iss"},
		{"sub a number", object{"sub": 7}, bad, "sub: not a string"},
		{"sub long", object{"sub": strings.Repeat("u", maxUser+1)}, bad, "sub: longer"},
		{"sub with a line", object{"sub": "ada\nuser=root"}, bad, "sub: longer than 256 bytes, or with control"},
		{"sub not Unicode", object{"sub": json.RawMessage(`"\ud800"`)}, bad, "sub"},
		{"chappe a list", object{"chappe": []int{1}}, bad, "chappe: not an object"},
		{"chappe null", object{"chappe": json.RawMessage("null")}, bad, "chappe: not an object"},
		{"chappe misspelt", object{"chappe": object{"grant": []int{}}}, bad, "chappe: a member that is not"},
		{"chappe in capitals", object{"chappe": object{"Grants": []int{}}}, bad, "chappe: a member that is not"},
		{"grants an object", object{"chappe": object{"grants": object{}}}, bad, "chappe.grants: not an array"},
		{"grants of strings", object{"chappe": object{"grants": []string{"a"}}}, bad, "chappe.grants[0]: not an object"},
		{"a denying member", grant(object{"channels": []string{"a"}, "actions": []string{"*"}, "deny": true}), bad, "chappe.grants[0]: a member"},
		{"action", grant(object{"channels": []string{"a"}, "actions": []string{"publish", "fly"}}), bad, "chappe.grants[0].actions[1]"},
		{"action in capitals", grant(object{"channels": []string{"a"}, "actions": []string{"PUBLISH"}}), bad, "chappe.grants[0].actions[0]"},
		{"no actions", grant(object{"channels": []string{"a"}}), bad, "chappe.grants[0].actions"},
		{"no channels", grant(object{"actions": []string{"*"}}), bad, "chappe.grants[0].channels: no channels"},
		{"channels a string", grant(object{"channels": "a", "actions": []string{"*"}}), bad, "chappe.grants[0].channels: not an array"},
		{"pattern", grant(object{"channels": []string{"a", "a.>.b"}, "actions": []string{"*"}}), bad, "chappe.grants[0].channels[1]"},
		{"null pattern", grant(object{"channels": []any{nil}, "actions": []string{"*"}}), bad, "chappe.grants[0].channels[0]"},
		{"grants", object{"chappe": object{"grants": many(maxGrants+1, one)}}, bad, "more than 64"},
		{"patterns", grant(object{"channels": many(maxPatterns+1, name), "actions": []string{"*"}}), bad, "more than 256"},
		{"subs", object{"chappe": object{"subs": many(maxSubs+1, name)}}, bad, "chappe.subs: more than 128"},
		{"sub pattern", object{"chappe": object{"subs": []string{"a", " "}}}, bad, "chappe.subs[1]"},
		{"subs a string", object{"chappe": object{"subs": "a"}}, bad, "chappe.subs: not an array"},
		{"payload a list", "[1]", bad, "not an object"},
		{"payload null", "null", bad, "not an object"},
		{"payload a string", `"x"`, bad, "not an object"},
		{"payload empty object", "{}", bad, "iss"},
		{"payload half", `{"sub":`, bad, "not a JSON Web Token"},
		{"payload not JSON", "ada", bad, "not a JSON Web Token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := c.change
			if o, ok := payload.(object); ok {
				payload = claimsWith(o)
			}
			refused(t, v, sign(t, okKey, nil, payload), c.code, c.text)
		})
	}
}

// On the limits everything is accepted.
func TestLimitsAreInclusive(t *testing.T) {
	v := newVerifier(t, nil)
	var grants []Grant
	for i := range maxGrants {
		var names []string
		for j := range maxPatterns / maxGrants {
			names = append(names, fmt.Sprintf("a%d.b%d", i, j))
		}
		grants = append(grants, Grant{Channels: names, Actions: []string{"*"}})
	}
	var subs []string
	for i := range maxSubs {
		subs = append(subs, fmt.Sprintf("s%d", i))
	}
	token, err := Mint(hsKey, Claims{Expires: epoch.Add(time.Hour), Grants: grants, Subs: subs})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify(token)
	if err != nil || len(id.Grants) != maxPatterns+maxSubs || len(id.Subs) != maxSubs {
		t.Fatalf("%v; %d grants, %d subs", err, len(id.Grants), len(id.Subs))
	}
}

func TestAlgorithmsCannotBeConfused(t *testing.T) {
	v := newVerifier(t, func(c *Config) { c.Keys = []Key{publicOnly(esKey), publicOnly(okKey)} })
	body := b64.EncodeToString([]byte(fmt.Sprintf(`{"sub":"eve","exp":%d}`, epoch.Add(time.Hour).Unix())))
	head := func(h string) string { return b64.EncodeToString([]byte(h)) + "." + body }
	der := func(k Key) []byte { b, _ := onlyBlock(k.Public, "PUBLIC KEY"); return b }
	// The public keys are public: whoever could pass them off as a secret would be anybody.
	for _, secret := range [][]byte{esKey.Public, okKey.Public, der(esKey), der(okKey), {}} {
		for _, kid := range []string{"", `,"kid":"es"`, `,"kid":"ed"`} {
			refused(t, v, hs(secret, head(`{"alg":"HS256"`+kid+`}`)), wire.CodeBadToken, "algorithm")
		}
	}
	both := newVerifier(t, nil)
	for _, h := range []string{
		`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE","kid":"hs"}`, `{"alg":""}`, `{}`, `{"alg":null}`, `{"alg":0}`,
		`{"alg":["HS256"]}`, `{"alg":"HS384"}`, `{"alg":"HS512"}`, `{"alg":"RS256"}`, `{"alg":"PS256"}`, `{"alg":"ES384"}`, `{"alg":"hs256"}`,
		`{"ALG":"HS256"}`, `{"alg":"PBES2-HS256+A128KW"}`, `{"alg":"dir","enc":"A256GCM"}`, `null`, `[]`,
	} {
		if _, err := both.Verify(hs(hsKey.Secret, head(h))); err == nil {
			t.Errorf("%s was accepted", h)
		}
		if _, err := both.Verify(head(h) + "."); err == nil {
			t.Errorf("%s without a signature was accepted", h)
		}
		if _, err := both.Verify(head(h) + ".AA"); err == nil {
			t.Errorf("%s with a mock signature was accepted", h)
		}
	}
	// A signature by one key under the kid of another.
	for _, key := range []Key{hsKey, esKey, okKey} {
		for _, other := range []Key{hsKey, esKey, okKey} {
			if key.ID != other.ID {
				refused(t, both, sign(t, key, object{"kid": other.ID}, claimsWith(nil)), wire.CodeBadToken, "another algorithm")
				refused(t, both, sign(t, key, object{"alg": other.Algorithm}, claimsWith(nil)), wire.CodeBadToken, "signature")
			}
		}
	}
	refused(t, both, hs(hsKey.Secret, head(`{"alg":"HS256","crit":["exp"]}`)), wire.CodeBadToken, "critical")
	refused(t, both, hs(hsKey.Secret, head(`{"alg":"HS256","kid":"unknown"}`)), wire.CodeBadToken, "no key has")
	refused(t, both, hs(hsKey.Secret, head(`{"alg":"HS256","kid":7}`)), wire.CodeBadToken, "kid")
	refused(t, both, hs(hsKey.Secret, head(`{"alg":"HS256","kid":""}`)), wire.CodeBadToken, "kid")
	// A key inside the token is not a key of ours.
	jwk := `{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"http://127.0.0.1:1/"}`
	refused(t, both, hs([]byte{0, 0, 0}, head(jwk)), wire.CodeBadToken, "signature")
}

func TestSeveralKeysOfOneAlgorithm(t *testing.T) {
	second := edKey("new")
	v := newVerifier(t, func(c *Config) { c.Keys = []Key{publicOnly(okKey), publicOnly(second)} })
	for _, k := range []Key{okKey, second} {
		for _, header := range []object{nil, {"kid": k.ID}} {
			if _, err := v.Verify(sign(t, k, header, claimsWith(nil))); err != nil {
				t.Errorf("%s %v: %v", k.ID, header, err)
			}
		}
	}
	refused(t, v, sign(t, okKey, object{"kid": "new"}, claimsWith(nil)), wire.CodeBadToken, "signature")
	refused(t, v, sign(t, edKey("new"), nil, claimsWith(nil)), wire.CodeBadToken, "signature")
}

// The kinds of mutation that the Wycheproof JWS vectors hold, on tokens of ours:
// a token has one spelling, and no other.
func TestMutatedTokens(t *testing.T) {
	v := newVerifier(t, nil)
	order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	for _, key := range []Key{hsKey, esKey, okKey} {
		good := sign(t, key, object{"kid": key.ID}, claimsWith(nil))
		if _, err := v.Verify(good); err != nil {
			t.Fatal(err)
		}
		p := strings.Split(good, ".")
		raw, _ := b64.DecodeString(p[2])
		mutants := map[string]string{
			"no signature": p[0] + "." + p[1] + ".", "two parts": p[0] + "." + p[1], "four parts": good + ".", "five": good + ".." + p[2],
			"leading dot": "." + good, "no header": "." + p[1] + "." + p[2], "no payload": p[0] + ".." + p[2], "only dots": "..",
			"padded": good + "=", "padded twice": good + "==", "padded header": p[0] + "=." + p[1] + "." + p[2],
			"swapped": p[1] + "." + p[0] + "." + p[2], "doubled signature": good + p[2],
			"JSON form":      `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`,
			"long by one":    p[0] + "." + p[1] + "." + b64.EncodeToString(append(slices.Clone(raw), 0)),
			"zero signature": p[0] + "." + p[1] + "." + b64.EncodeToString(make([]byte, len(raw))),
			"bearer":         "Bearer " + good,
		}
		for _, c := range []string{" ", "\n", "\r\n", "\t", "\x00", "+", "/", "é", "\u00a0"} {
			mutants["leading "+c], mutants["trailing "+c] = c+good, good+c
			for i := range p {
				q := slices.Clone(p)
				q[i] = q[i][:3] + c + q[i][3:]
				mutants[fmt.Sprintf("%q in part %d", c, i)] = strings.Join(q, ".")
			}
		}
		for n := range raw {
			mutants[fmt.Sprintf("signature cut at %d", n)] = p[0] + "." + p[1] + "." + b64.EncodeToString(raw[:n])
			flipped := slices.Clone(raw)
			flipped[n] ^= 1
			mutants[fmt.Sprintf("signature byte %d", n)] = p[0] + "." + p[1] + "." + b64.EncodeToString(flipped)
		}
		if key.Algorithm == ES256 { // r and s out of range; DER instead of r||s
			n := order.FillBytes(make([]byte, 32))
			mutants["r = n"] = p[0] + "." + p[1] + "." + b64.EncodeToString(append(slices.Clone(n), raw[32:]...))
			mutants["s = n"] = p[0] + "." + p[1] + "." + b64.EncodeToString(append(slices.Clone(raw[:32]), n...))
			mutants["r = 0"] = p[0] + "." + p[1] + "." + b64.EncodeToString(append(make([]byte, 32), raw[32:]...))
			mutants["DER"] = p[0] + "." + p[1] + "." + b64.EncodeToString(append([]byte{0x30, 68, 2, 32}, raw...))
		}
		for name, m := range mutants {
			if id, err := v.Verify(m); err == nil {
				t.Errorf("%s, %s: accepted as %+v", key.Algorithm, name, id)
			}
		}
		for i := range good { // every single character
			c := byte('A')
			if good[i] == 'A' {
				c = 'B'
			}
			if _, err := v.Verify(good[:i] + string(c) + good[i+1:]); err == nil {
				t.Errorf("%s: accepted with another character at %d", key.Algorithm, i)
			}
		}
	}
}

func TestOversize(t *testing.T) {
	v := newVerifier(t, nil)
	long := sign(t, hsKey, nil, claimsWith(object{"pad": strings.Repeat("x", maxToken)}))
	refused(t, v, long, wire.CodeBadToken, "longer than")
	refused(t, v, "", wire.CodeBadToken, "not a JSON")
	refused(t, v, "ck_"+strings.Repeat("x", maxToken), wire.CodeBadToken, "longer than")
	dots := strings.Repeat(".", 1_000_000)
	fits := strings.Repeat(".", maxToken)
	spread := strings.Repeat("A.", maxToken/2)
	for _, s := range []string{dots, fits, spread} {
		refused(t, v, s, wire.CodeBadToken, "")
		if n := testing.AllocsPerRun(100, func() { v.Verify(s) }); n > 5 {
			t.Errorf("%d bytes of dots: %v allocations", len(s), n)
		}
	}
	// JSON nested as deep as it fits.
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 1000)
	refused(t, v, sign(t, hsKey, nil, deep), wire.CodeBadToken, "not a JSON")
}

func TestAPIKeys(t *testing.T) {
	plain, _ := NewAPIKey()
	hashed, digest := NewAPIKey()
	v := newVerifier(t, func(c *Config) {
		c.APIKeys = []APIKey{
			{Name: "billing", Key: plain, Grants: []Grant{{Channels: []string{"bills.>"}, Actions: []string{"publish"}}}},
			{Name: "search", SHA256: strings.ToUpper(digest), Grants: []Grant{{Channels: []string{">"}, Actions: []string{"*"}}}},
		}
	})
	for key, want := range map[string]*identity.Identity{
		plain:  {Key: "billing", Backend: true, Grants: []identity.Grant{{Pattern: "bills.>", Actions: identity.Publish}}},
		hashed: {Key: "search", Backend: true, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}},
	} {
		if id, err := v.Verify(key); err != nil || !reflect.DeepEqual(id, want) {
			t.Errorf("%+v, %v; want %+v", id, err, want)
		}
		for _, wrong := range []string{key + "x", key[:len(key)-1], key + " ", strings.ToUpper(key[:4]) + key[4:], apiPrefix, key + "\n"} {
			if id, err := v.Verify(wrong); err == nil {
				t.Errorf("accepted as %+v", id)
			}
		}
	}
	refused(t, v, digest, wire.CodeBadToken, "")
	refused(t, v, apiPrefix+digest, wire.CodeBadToken, "API key")
}

func TestDevKeyNeedsNoEndAndDevMode(t *testing.T) {
	key := DevKey([]byte("secret"))
	token, err := Mint(key, Claims{User: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	dev := newVerifier(t, func(c *Config) { c.Dev, c.Keys = true, append(c.Keys, key) })
	id, err := dev.Verify(token)
	if err != nil || id.User != "ada" || !id.Expires.IsZero() {
		t.Errorf("%+v, %v", id, err)
	}
	refused(t, dev, sign(t, hsKey, nil, object{"sub": "eve"}), wire.CodeBadToken, "exp: missing")
	refused(t, dev, sign(t, key, nil, object{"sub": "eve"}), wire.CodeBadToken, "signature") // without its kid
	refused(t, newVerifier(t, nil), token, wire.CodeBadToken, "no key has")
}

func TestAnonymous(t *testing.T) {
	dev := newVerifier(t, func(c *Config) { c.Dev = true })
	serve := newVerifier(t, nil)
	if !Allows(dev.Anonymous(true), nil, identity.All, ">") {
		t.Error("dev on loopback may not do all")
	}
	for _, id := range []*identity.Identity{dev.Anonymous(false), serve.Anonymous(true), serve.Anonymous(false)} {
		if !reflect.DeepEqual(*id, identity.Identity{}) {
			t.Errorf("an anonymous client is %+v", id)
		}
	}
}

func TestMintRefusesWhatVerifyWould(t *testing.T) {
	end := epoch.Add(time.Hour)
	for name, c := range map[string]Claims{
		"no end":  {User: "a"},
		"pattern": {Expires: end, Grants: []Grant{{Channels: []string{"a b"}, Actions: []string{"*"}}}},
		"action":  {Expires: end, Grants: []Grant{{Channels: []string{"a"}, Actions: []string{"eat"}}}},
		"sub":     {Expires: end, Subs: []string{""}},
		"user":    {Expires: end, User: "a\x00"},
		"era":     {Expires: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if s, err := Mint(hsKey, c); err == nil {
			t.Errorf("%s: %s", name, s)
		}
	}
	for name, k := range map[string]Key{
		"public only": publicOnly(okKey), "no algorithm": {Secret: hsKey.Secret}, "none": {Algorithm: "none"},
		"wrong kind": {Algorithm: ES256, Private: okKey.Private}, "no secret": {Algorithm: HS256},
	} {
		if s, err := Mint(k, Claims{Expires: end}); err == nil {
			t.Errorf("%s: %s", name, s)
		}
	}
	full := Claims{User: "ada", Issuer: "us", Audience: "relay", Issued: epoch, NotBefore: epoch, Expires: end,
		Grants: []Grant{{Channels: []string{"a", "b.*"}, Actions: []string{"history", "presence"}}, {Channels: []string{"a"}, Actions: []string{"publish"}}},
		Subs:   []string{"a", "user.ada"}}
	v := newVerifier(t, func(c *Config) { c.Issuer, c.Audience = "us", "relay" })
	for _, k := range []Key{hsKey, esKey, okKey} {
		token, err := Mint(k, full)
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		want := []identity.Grant{
			{Pattern: "a", Actions: identity.History | identity.Presence | identity.Publish},
			{Pattern: "b.*", Actions: identity.History | identity.Presence},
			{Pattern: "a", Actions: identity.Subscribe}, // by subs
			{Pattern: "user.ada", Actions: identity.Subscribe},
		}
		if !slices.Equal(id.Grants, want) || !slices.Equal(id.Subs, full.Subs) {
			t.Errorf("%+v", id)
		}
	}
}

// What the parser reports before any key was asked must be worded by us.
func TestRefusalsAreOurOwnWords(t *testing.T) {
	for err, want := range map[error]string{
		jwt.ErrTokenMalformed: "not a JSON Web Token", jwt.ErrTokenUnverifiable: "not supported", jwt.ErrTokenSignatureInvalid: "signature",
	} {
		if e := refusal(fmt.Errorf("x: %w", err)); !strings.Contains(e.Text, want) || e.Code != wire.CodeBadToken {
			t.Errorf("%v: %v", err, e)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := newVerifier(f, nil)
	for _, k := range []Key{hsKey, esKey, okKey} {
		f.Add(sign(f, k, object{"kid": k.ID}, claimsWith(nil)))
	}
	f.Add("")
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("ck_x")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := v.Verify(s)
		if (id == nil) == (err == nil) {
			t.Fatalf("%v, %v", id, err)
		}
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Fatalf("not an *Error: %v", err)
		}
	})
}

// FuzzClaims reaches what the signature protects.
func FuzzClaims(f *testing.F) {
	v := newVerifier(f, nil)
	good, _ := json.Marshal(claimsWith(nil))
	f.Add(good)
	f.Add([]byte(`{"exp":1e10,"chappe":{"subs":["a"],"grants":[{"channels":[">"],"actions":["*"]}]}}`))
	f.Add([]byte(`{"exp":1e10,"aud":[],"chappe":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			return
		}
		id, err := v.identify(payload, false)
		if (id == nil) == (err == nil) {
			t.Fatalf("%v, %v", id, err)
		}
		if id != nil && (id.Expires.IsZero() || len(id.Grants) > maxPatterns+maxSubs || len(id.Subs) > maxSubs || len(id.User) > maxUser) {
			t.Fatalf("%+v", id)
		}
	})
}
