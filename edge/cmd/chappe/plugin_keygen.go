package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/chappe-relay/chappe/plugins/sign"
)

var pluginKeygenCommand = command{
	name:  "plugin keygen",
	brief: "make a key that signs uploads",
	usage: `NAME
    chappe plugin keygen - make a key that signs uploads

USAGE
    chappe plugin keygen [-o FILE] NAME

DESCRIPTION
    Makes an Ed25519 key. The secret half goes to a file that only you can read,
    NAME.key if -o names no other; a file that is there is never written over.
    What a node's configuration needs to accept the key, its public half under
    its name, is printed.

    A node takes only plugins that one of its keys has signed, except in chappe
    dev.

FLAGS
    -o FILE    where the secret half goes

EXAMPLE
    $ chappe plugin keygen ann >> chappe.yaml
    $ chappe plugin push -key ann.key -channels 'rides.>' geofence.wasm`,
	setup: func(f *flags) func(*env, []string) error {
		out := f.String("o", "", "")
		return func(e *env, args []string) error {
			switch {
			case len(args) == 0:
				return wrong("whose key? chappe plugin keygen NAME")
			case len(args) > 1:
				return wrong("one argument too many: %s", printable(args[1]))
			case !keyName.MatchString(args[0]):
				return wrong("a key's name is 1 to 64 of A-Z a-z 0-9 _ . @ -, not %s", printable(args[0]))
			}
			path := *out
			if path == "" {
				path = args[0] + keySuffix
			}
			return keygen(e, args[0], path)
		}
	},
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)

const keySuffix = ".key"

func keygen(e *env, name, path string) error {
	public, secret, err := sign.Generate()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; a key is never written over", shown(path))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, secret)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("upload key: %w", err)
	}
	fmt.Fprintf(e.stderr, "the secret half is in %s; keep it to yourself\n", shown(path))
	_, err = fmt.Fprintf(e.stdout, "plugins:\n  keys:\n    %q: {public: %q}\n", name, public)
	return err
}

// signature signs a bundle with the key in a file; name "" takes the file's, as
// keygen wrote it.
func signature(path, name string, s sign.Statement) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("-key: %w", readable(path, err))
	}
	key, err := sign.ParsePrivate(string(text))
	if err != nil {
		return "", fmt.Errorf("-key %s: %w", shown(path), err)
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(path), keySuffix)
	}
	if !keyName.MatchString(name) {
		return "", wrong("-key-name: a key's name is 1 to 64 of A-Z a-z 0-9 _ . @ -, not %s", printable(name))
	}
	return sign.Sign(name, key, s), nil
}
