// Package node authorizes nodes. A node may read and write what has to do with
// itself and with the pods that are bound to it, and nothing of its neighbours:
//
//	node ◄── pod ◄── secret, config map, service account, resource claim
//	           ▲
//	           └──── persistent volume claim ◄── persistent volume ◄── secret
//	node ◄── volume attachment, resource slice
//
// The graph is kept as counts per object and node, so that every question is
// answered by a look into a map or two. It follows the change feed of the store
// while Follow runs. What a node may write into its own objects is
// not decided here but by admission (admission/noderestriction).
package node

import (
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

const userPrefix = "system:node:"

// Identity tells whether u is a node, and which. The name is empty when a
// member of the group has no node's user name.
func Identity(u user.Info) (name string, isNode bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), userPrefix)
	if !ok || !slices.Contains(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return name, true
}
