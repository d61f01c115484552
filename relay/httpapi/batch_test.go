package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/session"
)

// FuzzBatch: a batch is read or refused with a code, and so is each item.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"messages":[{"channel":"a","data":{"n": 1},"id":"x"},{"channel":"b","enc":"base64","data":"YQ=="}]}`))
	f.Add([]byte(`{"messages":[{"channel":"a","data":null},{"enc":"text"},{"enc":"what","data":""}]}`))
	f.Add([]byte(`{"messages":null} []`))
	f.Add([]byte("\xff"))
	a := &API{Config: Config{Host: session.NewHost(session.Config{
		Node: node.New(node.Config{Now: func() uint64 { return 1 }}), Limits: session.DefaultLimits})}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		items, err := a.readBatch(raw)
		if err != nil {
			if err.Code == "" || len(items) > 0 {
				t.Errorf("%d items and %+v", len(items), err)
			}
			return
		}
		for i := range items {
			p, err := items[i].pub()
			switch {
			case (p == nil) == (err == nil):
				t.Errorf("item %d: %v and %v", i, p, err)
			case err != nil && err.Code == "":
				t.Errorf("item %d: a refusal without a code", i)
			case err == nil && items[i].Enc == "" && len(p.Data) > 0 && !json.Valid(p.Data):
				t.Errorf("item %d: %q is not JSON", i, p.Data)
			}
		}
	})
}

func TestBucketsAreBounded(t *testing.T) {
	now := time.Unix(1, 0)
	r := rates{limits: func() (float64, float64) { return 1, 2 }, now: func() time.Time { return now }}
	who := &identity.Identity{}
	for i := range 3 * maxBuckets {
		who.User = string(rune(i + 1))
		if err := r.take(who, ""); err != nil {
			t.Fatalf("a new publisher: %+v", err)
		}
	}
	if len(r.buckets) > maxBuckets {
		t.Errorf("%d buckets, at most %d", len(r.buckets), maxBuckets)
	}
	now = now.Add(time.Minute)
	if err := r.take(&identity.Identity{User: "one more"}, ""); err != nil || len(r.buckets) > maxBuckets {
		t.Errorf("%v, %d buckets", err, len(r.buckets))
	}
	if err := r.take(&identity.Identity{User: "u", Backend: true}, ""); err != nil {
		t.Errorf("a back end: %+v", err)
	}
}
