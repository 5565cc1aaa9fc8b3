"""What a layer has of which kind and where: counts and sums by groups of the contract, small ones hidden."""
