package podnet

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Names are what one instance owns in a host's network namespace. They are
// functions of the instance's name alone, so that a later process finds and
// removes what an earlier one made.
type Names struct {
	// Gateway carries the address through which pods reach everything.
	Gateway string
	// Overlay is the tunnel device between nodes.
	Overlay string
	// VethPrefix begins the host's end of every pod's link; 8 hex digits follow.
	VethPrefix string
	// PodTable is the nftables table with masquerading and host ports.
	PodTable string
	// ServiceTable is the nftables table of services.
	ServiceTable string
	// PolicyTable is the nftables table of network policy.
	PolicyTable string
	// Comment marks rules that had to be put into other programs' chains.
	Comment string
}

// MaxLinkName is the longest name the kernel takes for a link.
const MaxLinkName = 15

// NamesOf derives an instance's names. "sinawi-1a2b3c" keeps its digits, so that
// links are recognised by eye; any other name is hashed.
func NamesOf(instance string) Names {
	tag := tagOf(instance)
	return Names{
		Gateway:      "snw" + tag,
		Overlay:      "snw" + tag + "-vx",
		VethPrefix:   "v" + tag,
		PodTable:     instance + "-podnet",
		ServiceTable: instance,
		PolicyTable:  instance + "-policy",
		Comment:      instance + ": pod traffic",
	}
}

func tagOf(instance string) string {
	if tag, ok := strings.CutPrefix(instance, "sinawi-"); ok && len(tag) == 6 {
		if _, err := hex.DecodeString(tag); err == nil && strings.ToLower(tag) == tag {
			return tag
		}
	}
	sum := sha256.Sum256([]byte(instance))
	return hex.EncodeToString(sum[:3])
}
