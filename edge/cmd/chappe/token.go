package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/relay/auth"
)

var tokenCommand = command{
	name:  "token",
	brief: "make a token, or an API key",
	usage: `NAME
    chappe token - make a token, or an API key

USAGE
    chappe token [-user NAME] [-grant PATTERN:ACTIONS]... [-sub CHANNEL]...
                 [-ttl DURATION] [-key FILE | -config FILE] [-kid ID]
    chappe token -api-key

DESCRIPTION
    Prints a JSON Web Token that a node with the same key, or its public half,
    accepts. The key is, in this order: that of -key; one of auth.keys of the
    configuration, if it is an HS256 key; $CHAPPE_DEV_SECRET, for chappe dev
    with the same variable.

FLAGS
    -user NAME                 who it is for (the sub claim)
    -grant PATTERN:ACTIONS     what it allows; may be repeated. Actions are
                               publish, subscribe, history, presence or all,
                               separated by commas
    -sub CHANNEL               a subscription that the relay makes for it; may
                               be repeated. It allows to subscribe, too
    -ttl DURATION              how long it lasts, 1h if not given
    -key FILE                  an HS256 secret, or a private key in PEM (PKCS
                               #8): P-256 for ES256, Ed25519 for EdDSA
    -config FILE               take the key, issuer and audience from there,
                               else from $CHAPPE_CONFIG
    -kid ID                    the key's id: which key of the configuration, or
                               the kid header with -key
    -id TEXT                   the jti claim: what the token can be revoked by
    -issuer TEXT               the iss claim
    -audience TEXT             the aud claim
    -api-key                   make a new API key for a back end instead: the
                               key on stdout, its SHA-256 for the configuration
                               (auth.api_keys.NAME.sha256) on stderr

EXAMPLES
    $ chappe token -user ann -grant 'rides.>:subscribe,history' -config chappe.yaml
    $ export CHAPPE_DEV_SECRET=anything; chappe dev &
    $ CHAPPE_TOKEN=$(chappe token -user ann -grant 'rides.*:all') chappe sub rides.42`,
	setup: func(f *flags) func(*env, []string) error {
		t := tokenFlags{
			user: f.String("user", "", ""), grants: f.list("grant"), subs: f.list("sub"),
			ttl: f.String("ttl", "1h", ""), key: f.String("key", "", ""), config: configFlag(f), kid: f.String("kid", "", ""),
			id: f.String("id", "", ""), issuer: f.String("issuer", "", ""), audience: f.String("audience", "", ""),
		}
		api := f.Bool("api-key", false, "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			if *api {
				key, sum := auth.NewAPIKey()
				fmt.Fprintln(e.stderr, "sha256: "+sum)
				_, err := fmt.Fprintln(e.stdout, key)
				return err
			}
			token, err := t.mint(e, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, token)
			return err
		}
	},
}

type tokenFlags struct {
	user, ttl, key, kid, id, issuer, audience *string
	grants, subs                              *words
	config                                    func(*env) string
}

func (t *tokenFlags) mint(e *env, now time.Time) (string, error) {
	ttl, err := config.ParseDuration(*t.ttl)
	if err != nil || ttl == 0 {
		return "", wrong("-ttl: want a duration such as 15m, 12h or 30d, not %s", printable(*t.ttl))
	}
	claims := auth.Claims{
		User: *t.user, ID: *t.id, Issuer: *t.issuer, Audience: *t.audience, Subs: *t.subs,
		Issued: now, Expires: now.Add(time.Duration(ttl)),
	}
	for _, text := range *t.grants {
		g, err := config.ParseGrant(text)
		if err != nil {
			return "", wrong("-grant: %v", err)
		}
		claims.Grants = append(claims.Grants, g)
	}
	key, err := t.pick(e, &claims)
	if err != nil {
		return "", err
	}
	return auth.Mint(key, claims)
}

// pick finds the key, and fills what the configuration says of claims.
func (t *tokenFlags) pick(e *env, claims *auth.Claims) (auth.Key, error) {
	if *t.key != "" {
		text, err := os.ReadFile(*t.key)
		if err != nil {
			return auth.Key{}, fmt.Errorf("-key: %w", err)
		}
		return privateKey(*t.kid, text)
	}
	if path := t.config(e); path != "" {
		c, err := e.load(config.Source{Path: path})
		if err != nil {
			return auth.Key{}, err
		}
		if claims.Issuer == "" {
			claims.Issuer = c.Auth.Issuer
		}
		if claims.Audience == "" {
			claims.Audience = c.Auth.Audience
		}
		return t.configured(c, path)
	}
	if secret := e.getenv("CHAPPE_DEV_SECRET"); secret != "" {
		return auth.DevKey([]byte(secret)), nil
	}
	return auth.Key{}, wrong("no key: give -key, -config or CHAPPE_DEV_SECRET")
}

func (t *tokenFlags) configured(c *config.Config, path string) (auth.Key, error) {
	ids := slices.Sorted(maps.Keys(c.Auth.Keys))
	id := *t.kid
	switch {
	case len(ids) == 0:
		return auth.Key{}, wrong("%s has no auth.keys", path)
	case id == "" && len(ids) == 1:
		id = ids[0]
	case id == "":
		return auth.Key{}, wrong("%s has several keys; choose one with -kid: %s", path, strings.Join(ids, ", "))
	}
	k, ok := c.Auth.Keys[id]
	if !ok {
		return auth.Key{}, unknown("key", id, ids, "auth.keys has "+strings.Join(ids, ", "))
	}
	if k.Algorithm != auth.HS256 {
		return auth.Key{}, wrong("%s has only the public half of the %s key %s; give the private one with -key", path, k.Algorithm, id)
	}
	return auth.Key{ID: id, Algorithm: auth.HS256, Secret: []byte(k.Secret.Reveal())}, nil
}

// privateKey reads a secret, or a PEM file and its algorithm.
func privateKey(kid string, text []byte) (auth.Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		secret := []byte(strings.TrimSpace(string(text)))
		if len(secret) < 32 {
			return auth.Key{}, wrong("-key: %d bytes; an HS256 secret has at least 32", len(secret))
		}
		return auth.Key{ID: kid, Algorithm: auth.HS256, Secret: secret}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return auth.Key{}, wrong("-key: a PEM block of type %q; want PRIVATE KEY (PKCS #8)", block.Type)
	}
	k := auth.Key{ID: kid, Private: text}
	switch parsed.(type) {
	case *ecdsa.PrivateKey:
		k.Algorithm = auth.ES256
	case ed25519.PrivateKey:
		k.Algorithm = auth.EdDSA
	default:
		return auth.Key{}, wrong("-key: a key of another kind (%T); want P-256 or Ed25519", parsed)
	}
	return k, nil
}
