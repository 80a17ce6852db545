// Package given has one option for clients: an object may be given away. It is
// apart from package client, which knows the API server's machinery, so that
// controllers that know none can say so.
package given

import "sigs.k8s.io/controller-runtime/pkg/client"

// Away is an option of Create: whoever gives it has made the object for this
// alone, and looks at it no more if it was not stored. A server in the same
// process works on it then instead of on a copy. Over a wire it says nothing.
type Away struct{}

// ApplyToCreate implements client.CreateOption.
func (Away) ApplyToCreate(*client.CreateOptions) {}
