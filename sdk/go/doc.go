// Package chappe is the Go client of the Chappe relay: publish, subscribe,
// history and presence over one connection that comes back by itself.
//
//	c := chappe.New("https://relay.example", chappe.Options{Token: token})
//	defer c.Close(ctx)
//	sub, err := c.Subscribe(ctx, "rides.42", chappe.SubOptions{})
//	for e := range sub.Events() {
//		switch e := e.(type) {
//		case *chappe.Message: // e.Data
//		case *chappe.Gap:     // e.Count messages are lost; e.Reason says why
//		}
//	}
//
// What is promised:
//
//   - Nothing is delivered twice and nothing is lost silently: after a loss of
//     the connection the client resumes where it was, in one round trip for all
//     subscriptions, and what the relay no longer has arrives as a [Gap].
//   - Messages of one publisher node and channel keep their order.
//   - [Subscription.Cursor] covers what the application has taken, and nothing
//     more: a cursor that is stored after the work is done never skips.
//   - A publish that was cut off is sent again with the same idempotency id.
//   - The client comes back when the relay asks it to, and otherwise at a random
//     moment, so that a thousand clients are not a wave.
//   - All of this holds across relays, regions and transports.
//
// docs/clients.md (CLIENTS in comments) is the specification; sdk/conformance
// checks it.
//
// With several regions ([Options].Regions, and those that relays tell) a client
// whose relay is gone goes on at the next one, without DNS. While it is live it
// looks now and then for the nearest one that is well, and moves there: the new
// connection stands before the old one ends. So it also comes home, minutes after
// a failover and not together with all others. [Nearest] does the same for
// programs that do not live that long.
//
// WebTransport is in package sdk/go/wt, and used when [Options].WebTransport names it.
//
// An application that takes events more slowly than they arrive slows its
// connection down first: the client stops reading, answers pings all the same,
// and the relay's policy for the channel decides what happens to the backlog.
// The subscriptions of a Client share one connection and so wait for the slowest
// of them, but not for long: one that takes nothing for [Options].Patience loses
// messages here, counted in a Gap with Local set, until it takes events again.
package chappe
