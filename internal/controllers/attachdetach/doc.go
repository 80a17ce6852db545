// Package attachdetach asks CSI drivers to attach volumes to the nodes whose pods use
// them, and to detach them when no pod does: it writes VolumeAttachments, which the
// drivers' attachers carry out, and tells each node what is attached to it.
//
// A volume that may be used on one node only is not attached to a second one before it
// is off the first. It is not taken off a node that has it mounted (volumesInUse),
// unless the node is gone, out of service, or silent for six minutes.
package attachdetach
