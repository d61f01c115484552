package wt_test

import (
	"context"
	"fmt"
	"time"

	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// A client that prefers WebTransport where UDP comes through, with positions of a
// vehicle as datagrams: an old one is worth nothing, and what is lost is told.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := chappe.New("https://relay.example", chappe.Options{WebTransport: new(wt.Dialer)})
	defer c.Close(ctx)
	sub, err := c.Subscribe(ctx, "vehicles.42", chappe.SubOptions{Via: "datagram"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for e := range sub.Events() {
		switch e := e.(type) {
		case *chappe.Message:
			fmt.Printf("%s\n", e.Data)
		case *chappe.Gap:
			fmt.Println(e.Count, "positions did not come")
		}
	}
}
