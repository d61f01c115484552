package main

import (
	"testing"

	"github.com/chappe-relay/chappe/wasm/go/chappetest"
)

func TestFixtures(t *testing.T) { chappetest.Run(t, "testdata/frames.jsonl") }
