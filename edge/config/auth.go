package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/auth"
)

// Authority returns the part of the configuration that package auth reads. Keys
// stand in the order of their names. Dev mode is the caller's to set.
func (a Auth) Authority() auth.Config {
	out := auth.Config{Issuer: a.Issuer, Audience: a.Audience, Leeway: time.Duration(a.Leeway), Secret: []byte(a.Secret.Reveal())}
	if a.Retired != "" {
		out.Retired = [][]byte{[]byte(a.Retired.Reveal())}
	}
	for _, id := range slices.Sorted(maps.Keys(a.Keys)) {
		out.Keys = append(out.Keys, a.Keys[id].verifier(id))
	}
	for _, name := range slices.Sorted(maps.Keys(a.APIKeys)) {
		k := a.APIKeys[name]
		api := auth.APIKey{Name: name, Key: k.Key.Reveal(), SHA256: k.SHA256}
		for _, text := range k.Grants {
			if g, err := ParseGrant(text); err == nil { // Validate has told the others
				api.Grants = append(api.Grants, g)
			}
		}
		out.APIKeys = append(out.APIKeys, api)
	}
	return out
}

func (k *Key) verifier(id string) auth.Key {
	return auth.Key{ID: id, Algorithm: k.Algorithm, Secret: []byte(k.Secret.Reveal()), Public: []byte(k.Public)}
}

// auth asks package auth what is wrong, and gives its words our key paths: it
// counts keys where the file names them.
func (k *checker) auth() {
	a := k.cfg.Auth
	for name, key := range a.APIKeys {
		for _, text := range key.Grants {
			if _, err := ParseGrant(text); err != nil {
				k.fault(under("auth.api_keys", name)+".grants", "%v", err)
			}
		}
	}
	var rename []string
	for i, id := range slices.Sorted(maps.Keys(a.Keys)) {
		rename = append(rename, fmt.Sprintf("keys[%d]", i), "keys."+id)
	}
	for i, name := range slices.Sorted(maps.Keys(a.APIKeys)) {
		rename = append(rename, fmt.Sprintf("api_keys[%d]", i), "api_keys."+name)
	}
	names := strings.NewReplacer(append(rename, "retired[0]", "retired")...)
	for _, err := range Faults(a.Authority().Validate()) {
		path, text, _ := strings.Cut(err.Error(), ": ")
		path = names.Replace(path)
		if k.unread(path) {
			continue
		}
		k.fault(path, "%s", names.Replace(text))
	}
}

// unread reports whether the value at path is missing because its file could not
// be read, or because of a fault in it that was told already.
func (k *checker) unread(path string) bool {
	if slices.ContainsFunc(k.faults, func(f *Fault) bool { return f.Path == path }) {
		return true
	}
	if section, key, ok := cutLast(path); ok {
		for id, e := range k.cfg.Auth.Keys {
			if section == "auth.keys."+id {
				return key == "secret" && e.SecretFile != "" && e.Secret == "" || key == "public" && e.PublicFile != "" && e.Public == "" ||
					key == "algorithm" // told by the tag
			}
		}
		for name, e := range k.cfg.Auth.APIKeys {
			if section == "auth.api_keys."+name {
				return key == "key" && e.KeyFile != "" && e.Key == ""
			}
		}
	}
	return false
}

func cutLast(path string) (before, after string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}
