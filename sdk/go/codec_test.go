package chappe

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// decodeClient reads one frame of a client, as a relay does.
func decodeClient(b []byte, bin bool) (wire.Frame, error) {
	read := wire.DecodeJSON
	if bin {
		read = wire.DecodeBinary
	}
	frames, err := read(b, wire.FromClient)
	if err == nil && len(frames) != 1 {
		err = fmt.Errorf("%d frames", len(frames))
	}
	if err != nil {
		return nil, err
	}
	return frames[0], nil
}
