// Package demand is what a pod asks of its node, read from the pod alone: amounts of
// resources, ports, images, features, and nodes by name, and what tells it from
// what others ask.
package demand
