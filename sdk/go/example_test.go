package chappe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// startRelay runs a relay in this process, where everybody may do everything.
func startRelay() (url string, stop func()) {
	r, err := relay.New(relay.Config{Namespaces: map[string]namespace.Options{
		"*": {History: true, Presence: true, Anonymous: identity.All},
	}})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go srv.Serve(ln)
	go func() { done <- r.Run(ctx) }()
	return "http://" + ln.Addr().String(), func() {
		cancel()
		<-done
		srv.Close()
	}
}

// Subscribe, publish, and take what comes.
func Example() {
	url, stop := startRelay()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c := chappe.New(url, chappe.Options{})
	defer c.Close(ctx)
	sub, err := c.Subscribe(ctx, "rides.42", chappe.SubOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Publish(ctx, "rides.42", chappe.Message{Data: []byte(`{"at":"gate"}`)}); err != nil {
		fmt.Println(err)
		return
	}
	for e := range sub.Events() {
		switch e := e.(type) {
		case *chappe.Message:
			fmt.Printf("%s %s\n", e.Channel, e.Data)
			sub.Close() // enough; otherwise it goes on, across all reconnects
		case *chappe.Gap:
			fmt.Printf("%d messages are lost: %s\n", e.Count, e.Reason)
		}
	}
	// Output: rides.42 {"at":"gate"}
}

// A program that stores the cursor after its work is done continues there when it
// is started again, at any relay of any region, and misses nothing.
func ExampleSubscription_Cursor() {
	url, stop := startRelay()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	back := chappe.New(url, chappe.Options{})
	defer back.Close(ctx)

	stored := "" // in a file or a database
	work := func(messages int) {
		c := chappe.New(url, chappe.Options{})
		defer c.Close(ctx)
		sub, err := c.Subscribe(ctx, "orders", chappe.SubOptions{Cursor: stored, Last: 10})
		if err != nil {
			fmt.Println(err)
			return
		}
		for range messages {
			e, err := sub.Next(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			if m, ok := e.(*chappe.Message); ok {
				fmt.Println(string(m.Data))
			}
			stored = sub.Cursor()
		}
	}
	for _, order := range []string{"one", "two", "three"} {
		if _, err := back.Publish(ctx, "orders", chappe.Message{Data: []byte(order)}); err != nil {
			fmt.Println(err)
			return
		}
	}
	work(2)
	fmt.Println("started again")
	work(1)
	// Output:
	// one
	// two
	// started again
	// three
}

// An id makes a publication safe to repeat, also by another program or through
// another region: the relays take it once within two minutes.
func ExampleClient_Publish() {
	url, stop := startRelay()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := chappe.New(url, chappe.Options{})
	defer c.Close(ctx)
	for range 2 {
		ack, err := c.Publish(ctx, "orders", chappe.Message{ID: "order-17", Data: []byte("17")})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ack.Dup)
	}
	page, err := c.History(ctx, "orders", chappe.HistoryOptions{Last: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(page.Messages), "message")
	// Output:
	// false
	// true
	// 1 message
}

// Several relays: the first that answers is used, the next one when it is gone,
// and the nearest one as soon as the client knows which that is.
func ExampleOptions_regions() {
	eu, stopEU := startRelay()
	us, stopUS := startRelay()
	defer stopUS()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	moved := make(chan string, 16)
	c := chappe.New(eu, chappe.Options{
		Regions: []string{us},
		InOrder: true, // stay with the first as long as it is well
		OnState: func(s chappe.State) {
			if s.Phase == chappe.Live {
				moved <- s.URL
			}
		},
	})
	defer c.Close(ctx)
	if _, err := c.Subscribe(ctx, "rides.42", chappe.SubOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-moved == eu)
	stopEU()
	fmt.Println(<-moved == us)
	// Output:
	// true
	// true
}
