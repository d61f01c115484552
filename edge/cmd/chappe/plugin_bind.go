package main

import (
	"context"
	"fmt"

	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/registry"
)

// changing is a command that changes bindings: usage is for the message about a
// missing name, what does it.
func changing(f *flags, usage string, what func(ctx context.Context, c *api.Client, name string, channels []string) ([]registry.Binding, error)) func(*env, []string) error {
	admin, channels := newAdminFlags(f), channelFlag(f)
	return func(e *env, args []string) error {
		name, err := pluginName(args, usage)
		if err != nil {
			return err
		}
		patterns, err := channels()
		if err != nil {
			return err
		}
		c, err := admin.client(e)
		if err != nil {
			return err
		}
		ctx, stop := interrupts(e.ctx, nil)
		defer stop()
		all, err := what(ctx, c, name, patterns)
		if err != nil {
			return unanswered(c, err)
		}
		return tellBindings(e, all)
	}
}

var pluginBindCommand = command{
	name:  "plugin bind",
	brief: "let channels go through a version",
	usage: `NAME
    chappe plugin bind - let channels go through a version

USAGE
    chappe plugin bind -channels PATTERN,... [-version DIGITS]
                       [-canary PERCENT] [-admin URL] [-token TOKEN] NAME

DESCRIPTION
    Lets the channels of patterns go through a version that was pushed before. A
    channel goes through the plugin of the most specific pattern, and no other.
    The version is warm before the first message reaches it; a message sees one
    version, and nobody is disconnected.

FLAGS
    -channels PATTERN,...
                    which channels; may be repeated
    -version DIGITS
                    which version: the first digits of its digest; the newest if
                    not given
    -canary PERCENT
                    1 to 99 percent of the channels go through it, the others
                    through what they went through before
` + adminPage + `

EXAMPLE
    $ chappe plugin bind geofence -channels 'rides.>' -version 1f2e3d`,
	setup: func(f *flags) func(*env, []string) error {
		version, canary := f.String("version", "", ""), f.Int("canary", 0, "")
		return changing(f, "chappe plugin bind NAME -channels PATTERN", func(ctx context.Context, c *api.Client, name string, channels []string) ([]registry.Binding, error) {
			if len(channels) == 0 {
				return nil, wrong("which channels? -channels PATTERN,...")
			}
			if f.given("canary") && (*canary < 1 || *canary > 99) {
				return nil, wrong("-canary: want 1 to 99 percent, not %d", *canary)
			}
			return c.Bind(ctx, name, api.BindRequest{Channels: channels, Version: *version, Canary: *canary})
		})
	},
}

var pluginUnbindCommand = command{
	name:  "plugin unbind",
	brief: "let channels go without a plugin",
	usage: `NAME
    chappe plugin unbind - let channels go without a plugin

USAGE
    chappe plugin unbind [-channels PATTERN,...] [-admin URL] [-token TOKEN]
                         NAME

DESCRIPTION
    Ends bindings of a plugin. Messages that went through it stay what it made
    of them, in history too; its versions stay, for chappe plugin bind.

FLAGS
    -channels PATTERN,...
                    which bindings; may be repeated; all if not given
` + adminPage + `

EXAMPLE
    $ chappe plugin unbind geofence -channels 'rides.>'`,
	setup: func(f *flags) func(*env, []string) error {
		return changing(f, "chappe plugin unbind NAME", func(ctx context.Context, c *api.Client, name string, channels []string) ([]registry.Binding, error) {
			return c.Unbind(ctx, name, channels...)
		})
	},
}

var pluginPromoteCommand = command{
	name:  "plugin promote",
	brief: "let all channels go through the canary",
	usage: `NAME
    chappe plugin promote - let all channels go through the canary

USAGE
    chappe plugin promote [-channels PATTERN,...] [-reauthorise] [-force]
                          [-admin URL] [-token TOKEN] NAME

DESCRIPTION
    Makes the canary of each binding of a plugin its version for all channels;
    what was there is kept for chappe plugin rollback. A canary that fails more
    often than the version before, or uses half as much fuel again, is refused.
    If the new version's breaker opens in the next ten minutes, the node rolls
    back by itself.

FLAGS
    -channels PATTERN,...
                    which bindings; may be repeated; all if not given
    -reauthorise    let it decide anew about those who are subscribed already;
                    works without a canary too
    -force          also if the canary does worse
` + adminPage + `

EXAMPLE
    $ chappe plugin promote geofence -reauthorise`,
	setup: func(f *flags) func(*env, []string) error {
		again, force := f.Bool("reauthorise", false, ""), f.Bool("force", false, "")
		return changing(f, "chappe plugin promote NAME", func(ctx context.Context, c *api.Client, name string, channels []string) ([]registry.Binding, error) {
			return c.Promote(ctx, name, api.PromoteRequest{Channels: channels, Reauthorise: *again, Force: *force})
		})
	},
}

var pluginRollbackCommand = command{
	name:  "plugin rollback",
	brief: "take back the last step",
	usage: `NAME
    chappe plugin rollback - take back the last step

USAGE
    chappe plugin rollback [-channels PATTERN,...] [-admin URL] [-token TOKEN]
                           NAME

DESCRIPTION
    Takes back the last step of each binding of a plugin: its canary if it has
    one, else the version for the one before. It never leaves a channel without
    a plugin that had one; chappe plugin unbind does.

FLAGS
    -channels PATTERN,...
                    which bindings; may be repeated; all if not given
` + adminPage + `

EXAMPLE
    $ chappe plugin rollback geofence`,
	setup: func(f *flags) func(*env, []string) error {
		return changing(f, "chappe plugin rollback NAME", func(ctx context.Context, c *api.Client, name string, channels []string) ([]registry.Binding, error) {
			return c.Rollback(ctx, name, channels...)
		})
	},
}

var pluginDeleteCommand = command{
	name:  "plugin delete",
	brief: "remove versions",
	usage: `NAME
    chappe plugin delete - remove versions

USAGE
    chappe plugin delete -version DIGITS [-admin URL] [-token TOKEN] NAME
    chappe plugin delete -all [-admin URL] [-token TOKEN] NAME

DESCRIPTION
    Removes a version of a plugin, or all of them, for good. One that channels
    go through, or that a rollback would return to, is refused. Readers get no
    message any more that a removed version let through and was to choose the
    readers of: chappe plugin unbind first, and wait as long as history is kept.

FLAGS
    -version DIGITS
                    the first digits of its digest
    -all            all versions
` + adminPage + `

EXAMPLE
    $ chappe plugin delete geofence -version 1f2e3d`,
	setup: func(f *flags) func(*env, []string) error {
		admin := newAdminFlags(f)
		version, all := f.String("version", "", ""), f.Bool("all", false, "")
		return func(e *env, args []string) error {
			name, err := pluginName(args, "chappe plugin delete NAME -version DIGITS")
			if err != nil {
				return err
			}
			if (*version == "") != *all {
				return wrong("-version DIGITS or -all: one of them")
			}
			c, err := admin.client(e)
			if err != nil {
				return err
			}
			ctx, stop := interrupts(e.ctx, nil)
			defer stop()
			if err := c.Delete(ctx, name, *version); err != nil {
				return unanswered(c, err)
			}
			what := "version " + *version
			if *all {
				what = "all versions"
			}
			_, err = fmt.Fprintf(e.stdout, "%s: %s deleted\n", name, what)
			return err
		}
	},
}
