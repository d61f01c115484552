// Command chappe runs a relay node and talks to one.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/chappe-relay/chappe/edge/nearest"
	"github.com/chappe-relay/chappe/plugins/engine"
)

func main() {
	engine.ChildMain() // of a node that compiles a plugin: does that, and ends
	os.Exit(run(context.Background(), os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // a wrong command, flag, argument or key
)

// env is what a command has of the world. Nothing but main asks
// package os for these.
type env struct {
	ctx    context.Context
	name   string // of this program, as it was called
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// usageError is a mistake in how the program was called.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errTold ends a command whose faults are printed already; it is a usage error.
var errTold = errors.New("told")

// command is one word behind "chappe".
type command struct {
	name  string // "sub", "config check"
	brief string
	usage string // the manual page, without a trailing newline
	// setup declares the flags and returns what runs when they are parsed.
	setup func(f *flags) func(e *env, args []string) error
}

// commands in the order of the help text.
func commands() []command {
	all := []command{
		devCommand, serveCommand, pubCommand, subCommand, tokenCommand,
		configCheckCommand, configPrintCommand, configDocCommand,
	}
	return append(append(all, pluginCommands()...), regionsInitCommand, regionsCommand,
		settingsSetCommand, settingsUnsetCommand, settingsCommand, historyCheckCommand, versionCommand)
}

// run is the program: args[0] is its name, which the lines that dev prints need.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := &env{ctx: ctx, name: args[0], getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	name, err := e.dispatch(args[1:])
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errTold):
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %s\n", name, usage.text)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "%s: %s\n", name, oneLine(err))
		return exitFailed
	}
}

// oneLine words an error for the terminal: joined errors are separated by semicolons.
func oneLine(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	return strings.TrimPrefix(text, "chappe: ")
}

// dispatch finds and runs a command. The name is for messages.
func (e *env) dispatch(args []string) (name string, err error) {
	name = "chappe"
	if len(args) == 0 {
		io.WriteString(e.stderr, help())
		return name, errTold
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return name, e.help(args[1:])
	case "-version", "--version":
		args = []string{"version"}
	}
	c, rest, err := find(args)
	if err != nil {
		return name, err
	}
	name += " " + c.name
	f := newFlags()
	action := c.setup(f)
	args, wantsHelp, err := f.parse(rest)
	if err != nil {
		return name, err
	}
	if wantsHelp {
		_, err := io.WriteString(e.stdout, c.usage+"\n")
		return name, err
	}
	return name, action(e, args)
}

// find takes a command of one or two words off args.
func find(args []string) (command, []string, error) {
	var first, second []string // the words that could stand there
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if words[0] == args[0] {
			if len(words) == 1 {
				return c, args[1:], nil
			}
			if len(args) > 1 && words[1] == args[1] {
				return c, args[2:], nil
			}
			second = append(second, words[1])
		}
		first = append(first, words[0])
	}
	if second == nil {
		return command{}, nil, unknown("command", args[0], first, "chappe help lists all")
	}
	if len(args) == 1 {
		return command{}, nil, wrong("%s what? One of: %s", args[0], strings.Join(second, ", "))
	}
	switch args[1] {
	case "-h", "-help", "--help": // of the group: the page of the whole says it
		return helpCommand, nil, nil
	}
	return command{}, nil, unknown(args[0]+" command", args[1], second, "one of: "+strings.Join(second, ", "))
}

// unknown names a wrong word and the one that was probably meant.
func unknown(what, word string, words []string, otherwise string) error {
	if near, ok := nearest.Of(word, words); ok {
		return wrong("unknown %s %s; did you mean %s?", what, printable(word), near)
	}
	return wrong("unknown %s %s; %s", what, printable(word), otherwise)
}

// helpCommand answers `chappe config -h`.
var helpCommand = command{name: "help", setup: func(*flags) func(*env, []string) error {
	return func(e *env, _ []string) error {
		_, err := io.WriteString(e.stdout, help())
		return err
	}
}}

func (e *env) help(args []string) error {
	text := help()
	if len(args) > 0 {
		c, rest, err := find(args)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return wrong("%s is no part of a command", rest[0])
		}
		if c.usage != "" {
			text = c.usage + "\n"
		}
	}
	_, err := io.WriteString(e.stdout, text)
	return err
}

// help is the page of the whole program.
func help() string {
	var b strings.Builder
	b.WriteString(`NAME
    chappe - a real-time relay: publish, subscribe, resume

USAGE
    chappe COMMAND [FLAGS] [ARGUMENTS]

COMMANDS
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "    %-15s %s\n", c.name, c.brief)
	}
	b.WriteString(`
    chappe help COMMAND, or chappe COMMAND -h, shows a command's page. Flags are
    written -flag or --flag and may stand behind arguments; -- ends them.

FIRST STEPS
    $ chappe dev                       a relay on this machine, no file needed
    $ chappe sub rides.42              in a second terminal
    $ chappe pub rides.42 '{"at":"gate"}'                         in a third

ENVIRONMENT
    CHAPPE_URL       the relay for pub and sub, http://127.0.0.1:8080 if unset
    CHAPPE_TOKEN     their token
    CHAPPE_CONFIG    the configuration file, if -config is not given
    CHAPPE_...       every key of the configuration: chappe config doc

EXIT STATUS
    0 done; 1 it failed; 2 a wrong command, flag or key
`)
	return b.String()
}

// scanLines reads lines of at most 1 MiB from r.
func scanLines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), 1<<20)
	return s
}
