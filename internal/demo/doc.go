// Package demo is a tour that measures itself: it runs a small web application
// on the cluster, shows that requests spread, that a killed container comes
// back, that the application scales and that a rolling update loses no request,
// and removes everything again. It needs no internet and no registry: the
// application is carried in the binary.
//
// It uses the Kubernetes API like any client, from the node itself. All that it
// makes lies in one namespace of its own, and one image.
package demo
