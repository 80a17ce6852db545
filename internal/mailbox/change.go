package mailbox

import "k8s.io/client-go/tools/cache"

// Change is a letter that tells of an object.
type Change struct {
	Object  any
	Deleted bool
}

// Handler puts every change that an informer sees into m: an object as it is
// now, or as it was last when it is deleted.
func Handler(m *Mailbox[Change]) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { m.Put(Change{Object: obj}) },
		UpdateFunc: func(_, obj any) { m.Put(Change{Object: obj}) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			m.Put(Change{Object: obj, Deleted: true})
		},
	}
}
