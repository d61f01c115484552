package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

var versionCommand = command{
	name:  "version",
	brief: "print what this program is",
	usage: `NAME
    chappe version - print what this program is

USAGE
    chappe version

DESCRIPTION
    Prints the version, the commit it was built from (with + if files were
    changed since), the version of Go, and the system it was built for.`,
	setup: func(*flags) func(*env, []string) error {
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			_, err := fmt.Fprintln(e.stdout, versionLine())
			return err
		}
	},
}

func versionLine() string {
	version, commit := "(devel)", "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		if b.Main.Version != "" {
			version = b.Main.Version
		}
		dirty := ""
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "+"
				}
			}
		}
		commit += dirty
	}
	return fmt.Sprintf("chappe %s commit %s %s %s/%s", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
