package main

import (
	"fmt"

	"github.com/chappe-relay/chappe/edge/config"
)

// configFlag declares -config, which CHAPPE_CONFIG stands in for.
func configFlag(f *flags) func(e *env) string {
	path := f.String("config", "", "")
	return func(e *env) string {
		if *path == "" {
			return e.getenv("CHAPPE_CONFIG")
		}
		return *path
	}
}

// load reads a configuration and prints its faults, one a line.
func (e *env) load(src config.Source) (*config.Config, error) {
	src.Getenv = e.getenv
	c, err := config.Load(src)
	if err == nil {
		return c, nil
	}
	for _, fault := range config.Faults(err) {
		fmt.Fprintln(e.stderr, fault)
	}
	return nil, errTold
}

var configCheckCommand = command{
	name:  "config check",
	brief: "find what is wrong with a configuration",
	usage: `NAME
    chappe config check - find what is wrong with a configuration

USAGE
    chappe config check [-config FILE]

DESCRIPTION
    Reads the file and the CHAPPE_ variables as chappe serve would, opens the
    files of secrets that they name, and prints every fault on stderr, one a
    line: file and line (or variable), key, and what is wrong. Exits with 2 if
    there is a fault. What is allowed but probably not meant is printed as a
    warning.

FLAGS
    -config FILE    the file, else $CHAPPE_CONFIG; without either the variables
                    alone are checked

EXAMPLE
    $ chappe config check -config chappe.yaml
    chappe.yaml:3: client.lsiten: unknown key; did you mean client.listen?`,
	setup: func(f *flags) func(*env, []string) error {
		path := configFlag(f)
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			c, err := e.load(config.Source{Path: path(e)})
			if err != nil {
				return err
			}
			for _, w := range c.Warnings() {
				fmt.Fprintln(e.stderr, "warning: "+w)
			}
			name := path(e)
			if name == "" {
				name = "environment"
			}
			_, err = fmt.Fprintln(e.stdout, name+": no fault")
			return err
		}
	},
}

var configPrintCommand = command{
	name:  "config print",
	brief: "print the effective configuration",
	usage: `NAME
    chappe config print - print the effective configuration

USAGE
    chappe config print [-config FILE] [-dev]

DESCRIPTION
    Prints every key with its value, as YAML; a comment says where the value
    came from: default, file and line, or variable. Secrets are shown as
    [redacted]. A configuration with faults is not printed; its faults are.

FLAGS
    -config FILE    the file, else $CHAPPE_CONFIG
    -dev            start from the defaults of chappe dev`,
	setup: func(f *flags) func(*env, []string) error {
		path := configFlag(f)
		dev := f.Bool("dev", false, "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			c, err := e.load(config.Source{Path: path(e), Dev: *dev})
			if err != nil {
				return err
			}
			return c.Print(e.stdout)
		}
	},
}

var configDocCommand = command{
	name:  "config doc",
	brief: "the manual page of chappe.yaml",
	usage: `NAME
    chappe config doc - the manual page of chappe.yaml

USAGE
    chappe config doc [-markdown]

DESCRIPTION
    Prints every key with its meaning, default, range and variable.

FLAGS
    -markdown    the same as docs/configuration.md`,
	setup: func(f *flags) func(*env, []string) error {
		markdown := f.Bool("markdown", false, "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			if *markdown {
				return config.Markdown(e.stdout)
			}
			return config.Manual(e.stdout)
		}
	},
}
